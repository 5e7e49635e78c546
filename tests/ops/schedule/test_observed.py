"""Slots that a service's clock brought, read off the runs that say they stand for one."""

from datetime import UTC, datetime, timedelta

import pytest

from ops.schedule import moves
from ops.schedule.native.observed import observe
from ops.schedule.schedule import Schedule
from ops.schedule.table import Table
from steps.contracts.runs import RunRecord

DAILY = Schedule(
    name="daily", config="c.yaml", cron="0 6 * * *", tz="Europe/Berlin", on="kubernetes", overlap="queue",
    catchup="none", max_lateness=timedelta(minutes=20),
)  # fmt: skip


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def a_run(name: str, slot: str | None, status: str = "completed", started: str = "2026-03-29T04:01Z", **more: object):
    given = {
        "run_id": name, "name": name, "config_name": "c", "pipeline": "curate", "status": status,
        "started": at(started).isoformat(), "ended": (at(started) + timedelta(minutes=5)).isoformat(), "stack": "s",
        "artifact_store": "/a", "commit": None, "config_digest": "d", "artifacts": (), "cached_steps": (),
        "executed_steps": (), "error": None, "registration": None, "tracking_uri": None, "schedule": "daily",
        "slot": slot,
    }  # fmt: skip
    return RunRecord(**{**given, **more})


@pytest.fixture
def table(tmp_path) -> Table:
    table = Table(tmp_path / "table.db")
    moves.add(table, DAILY, at("2026-03-28T12:00Z"))
    return table


def slots(table: Table) -> list[tuple[str, str, str | None]]:
    with table.look() as t:
        return [(f"{s.at:%m-%d %H:%M}", s.state, s.run) for s in reversed(t.slots("daily"))]


def test_slot_with_a_run_ran_or_failed_or_runs(table):
    runs = [
        a_run("one", "2026-03-29T06:00+02:00"),
        a_run("two", "2026-03-30T06:00+02:00", "failed", "2026-03-30T04:01Z", error="no such file\nmore"),
        a_run("three", "2026-03-31T06:00+02:00", "running", "2026-03-31T04:01Z", ended=None),
    ]
    observe(table, runs, at("2026-03-31T04:10Z"))
    assert slots(table) == [
        ("03-29 04:00", "ran", "one"), ("03-30 04:00", "failed", "two"), ("03-31 04:00", "running", "three")
    ]  # fmt: skip
    with table.look() as t:
        assert t.slot("daily", at("2026-03-30T04:00Z")).reason == "no such file"


def test_slot_waits_for_a_run_and_is_missed_when_none_comes_and_mended_when_one_turns_up(table):
    observe(table, [], at("2026-03-29T04:10Z"))
    assert slots(table) == [("03-29 04:00", "queued", None)]
    # Twenty minutes of lateness, and thirty for a service that starts something.
    observe(table, [], at("2026-03-29T04:49Z"))
    assert slots(table) == [("03-29 04:00", "queued", None)]
    observe(table, [], at("2026-03-29T04:50Z"))
    assert slots(table) == [("03-29 04:00", "missed", None)]
    observe(table, [a_run("late", "2026-03-29T06:00+02:00")], at("2026-03-29T09:00Z"))
    assert slots(table) == [("03-29 04:00", "ran", "late")]


def test_a_run_that_failed_gives_way_to_the_next_try(table):
    first = a_run("one", "2026-03-29T06:00+02:00", "failed", error="it was killed")
    observe(table, [first], at("2026-03-29T04:30Z"))
    second = a_run("two", "2026-03-29T06:00+02:00", "completed", "2026-03-29T04:31Z")
    observe(table, [second, first], at("2026-03-29T05:00Z"))
    assert slots(table) == [("03-29 04:00", "ran", "two")]
    with table.look() as t:
        slot = t.slot("daily", at("2026-03-29T04:00Z"))
    assert (slot.attempts, slot.failures) == (2, 1)


def test_slots_of_a_pause_are_paused_and_runs_of_others_dont_count(table):
    moves.pause(table, "daily", at("2026-03-28T13:00Z"))
    other = a_run("other", "2026-03-29T06:00+02:00", schedule="another")
    observe(table, [other, a_run("plain", None)], at("2026-03-29T12:00Z"))
    assert slots(table) == [("03-29 04:00", "paused", None)]


def test_run_that_no_clock_brought_has_a_line_too(table):
    observe(table, [a_run("now", "2026-03-28T15:12+01:00", started="2026-03-28T14:13Z")], at("2026-03-28T15:00Z"))
    assert slots(table) == [("03-28 14:12", "ran", "now")]
    with table.look() as t:
        assert t.slot("daily", at("2026-03-28T14:12Z")).origin == "manual"


def test_assays_scheduler_starts_nothing_but_backfills(table):
    moves.account(table, at("2026-03-30T04:00Z"))
    assert slots(table) == [] and moves.claim(table, at("2026-03-30T04:00Z"), 4) is None
    observe(table, [], at("2026-03-31T12:00Z"))
    found = moves.backfill(
        table, "daily", at("2026-03-29T00:00Z"), at("2026-03-29T23:00Z"), "none", at("2026-03-31T12:00Z")
    )
    assert len(found) == 1
    _, taken = moves.claim(table, at("2026-03-31T12:01Z"), 4)
    assert (taken.at, taken.origin) == (at("2026-03-29T04:00Z"), "backfill")
    observe(table, [], at("2026-03-31T12:02Z"))
    assert slots(table)[0] == ("03-29 04:00", "running", None), "a backfill is the scheduler's to tell of"


def test_an_edit_fires_nothing_and_what_is_accounted_for_stays(table):
    observe(table, [a_run("one", "2026-03-29T06:00+02:00")], at("2026-03-29T12:00Z"))
    moves.edit(table, "daily", {"cron": "0 7 * * *"}, at("2026-03-29T12:00Z"))
    observe(table, [], at("2026-03-29T13:00Z"))
    assert slots(table) == [("03-29 04:00", "ran", "one")]
