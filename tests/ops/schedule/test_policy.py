"""What becomes of slots, one policy after the other; the expected is worked out by hand."""

import pytest
from support.clockwork import BROKEN, WRONG, Desk, at

from ops.schedule import moves
from ops.schedule.slots import Result
from steps.contracts.errors import ConfigError, InputError


def test_slots_in_time_run_one_after_the_other(tmp_path):
    desk = Desk(tmp_path)
    assert desk.look("00:30") is None
    first = desk.look("01:00")
    assert first.at == at("01:00") and first.attempts == 1
    assert desk.end(first, "01:10").state == "ran"
    desk.end(desk.look("02:00"), "02:05")
    assert desk.slots() == {"01:00": ("ran", "cron"), "02:00": ("ran", "cron")}


def test_a_slot_may_start_an_hour_late_but_not_when_the_next_one_is_due(tmp_path):
    daily = Desk(tmp_path / "daily", cron="0 3 * * *", catchup="none")
    assert daily.look("03:59").at == at("03:00")
    late = Desk(tmp_path / "late", cron="0 3 * * *", catchup="none")
    assert late.look("04:00") is None
    assert late.states() == {"03:00": "missed"}
    often = Desk(tmp_path / "often", cron="*/10 * * * *", catchup="none")
    assert often.look("00:35").at == at("00:30")
    assert often.states() == {"00:10": "missed", "00:20": "missed", "00:30": "running"}


def test_lateness_as_it_is_said(tmp_path):
    desk = Desk(tmp_path, cron="0 3 * * *", catchup="none", max_lateness="5m")
    assert desk.look("03:05") is None
    assert "nobody could start it in time; catchup: none" in desk.why("03:00")


def test_catchup_latest_runs_the_newest_of_what_was_missed(tmp_path):
    desk = Desk(tmp_path, max_lateness="10m")
    assert desk.look("05:30").at == at("05:00")
    assert desk.slots() == {
        "01:00": ("missed", "cron"), "02:00": ("missed", "cron"), "03:00": ("missed", "cron"),
        "04:00": ("missed", "cron"), "05:00": ("running", "catchup"),
    }  # fmt: skip
    assert desk.why("01:00") == "nobody could start it in time; the slot of 2026-03-01T05:00+00:00 stands for it"


def test_a_slot_in_time_stands_for_those_before_it(tmp_path):
    desk = Desk(tmp_path, max_lateness="10m")
    assert desk.look("03:05").at == at("03:00")
    assert desk.slots() == {"01:00": ("missed", "cron"), "02:00": ("missed", "cron"), "03:00": ("running", "cron")}


def test_catchup_all_runs_each_in_its_order_and_new_ones_behind_them(tmp_path):
    desk = Desk(tmp_path, max_lateness="10m", catchup="all")
    first = desk.look("02:30")
    assert first.at == at("01:00")
    desk.account("03:00")
    assert desk.slots()["03:00"] == ("queued", "catchup")
    assert desk.start("03:00") is None
    desk.end(first, "03:01")
    order = []
    for minute in ("03:02", "03:03"):
        slot = desk.look(minute)
        order.append(f"{slot.at:%H:%M}")
        desk.end(slot, minute)
    assert order == ["02:00", "03:00"]


def test_what_is_caught_up_gives_way_to_what_is_newer(tmp_path):
    desk = Desk(tmp_path, max_lateness="10m")
    desk.account("01:30")
    assert desk.slots() == {"01:00": ("queued", "catchup")}
    desk.account("02:00")
    assert desk.slots() == {"01:00": ("missed", "cron"), "02:00": ("queued", "cron")}


def test_overlap_skip(tmp_path):
    desk = Desk(tmp_path, overlap="skip")
    first = desk.look("01:00")
    assert desk.look("02:00") is None
    assert desk.why("02:00") == "the slot of 2026-03-01T01:00+00:00 still ran; overlap: skip"
    desk.end(first, "02:30")
    assert desk.look("03:00").at == at("03:00")
    assert desk.states() == {"01:00": "ran", "02:00": "skipped", "03:00": "running"}


def test_overlap_queue_has_room_for_one(tmp_path):
    desk = Desk(tmp_path, overlap="queue", max_lateness="3h")
    first = desk.look("01:00")
    for hour in ("02:00", "03:00"):
        assert desk.look(hour) is None
    assert desk.states() == {"01:00": "running", "02:00": "queued", "03:00": "skipped"}
    assert "another one waits; overlap: queue" in desk.why("03:00")
    desk.end(first, "03:30")
    assert desk.look("03:31").at == at("02:00")


def test_what_waits_too_long_is_missed(tmp_path):
    desk = Desk(tmp_path, overlap="queue", max_lateness="90m")
    first = desk.look("01:00")
    desk.account("02:00")
    desk.account("03:29")
    assert desk.states()["02:00"] == "queued"
    desk.account("03:30")
    assert desk.states()["02:00"] == "missed"
    assert desk.why("02:00") == "waited longer than 1h30m behind a slot that ran"
    desk.end(first, "03:40")
    # 03:00 was skipped, since 02:00 waited.
    assert desk.look("03:41") is None


def test_by_default_the_queue_holds_the_newest(tmp_path):
    desk = Desk(tmp_path, overlap="queue")
    first = desk.look("01:00")
    desk.account("02:00")
    desk.account("03:00")
    assert desk.states() == {"01:00": "running", "02:00": "missed", "03:00": "queued"}
    desk.end(first, "03:30")
    assert desk.look("03:30").at == at("03:00")


def test_a_scheduler_that_died_before_it_started_a_slot_leaves_it_to_the_catchup(tmp_path):
    desk = Desk(tmp_path)
    desk.account("01:00")
    assert desk.look("04:30").at == at("04:00"), "in time, within the hour"
    assert desk.states() == {"01:00": "missed", "02:00": "missed", "03:00": "missed", "04:00": "running"}


def test_retries_wait_twice_as_long_each_and_hold_their_place(tmp_path):
    desk = Desk(tmp_path, retries=2, backoff="10m")
    slot = desk.end(desk.look("01:00"), "01:05", BROKEN)
    assert (slot.state, slot.not_before, slot.failures) == ("queued", at("01:15"), 1)
    assert desk.look("01:14") is None
    slot = desk.end(desk.look("01:15"), "01:50", BROKEN)
    assert slot.not_before == at("02:10")
    desk.account("02:00")
    assert "was to be tried again; overlap: skip" in desk.why("02:00")
    slot = desk.end(desk.look("02:10"), "02:11", BROKEN)
    assert (slot.state, slot.attempts, slot.reason) == ("failed", 3, BROKEN.reason)
    with desk.table.look() as t:
        assert [(a.attempt, a.outcome) for a in t.attempts("s", at("01:00"))] == [(n, "failed") for n in (1, 2, 3)]


def test_what_another_attempt_cant_mend_is_not_tried_again(tmp_path):
    desk = Desk(tmp_path, retries=5)
    assert desk.end(desk.look("01:00"), "01:01", WRONG).state == "failed"


def test_attempts_that_a_scheduler_ended_or_never_began_cost_no_retry(tmp_path):
    desk = Desk(tmp_path, retries=0)
    slot = desk.end(desk.look("01:00"), "01:01", Result("stopped", "the scheduler was stopped"))
    assert (slot.state, slot.attempts, slot.failures) == ("queued", 1, 0)
    slot = desk.end(desk.look("01:02"), "01:03", Result("never"))
    assert (slot.state, slot.attempts, slot.failures) == ("queued", 1, 0)
    assert desk.end(desk.look("05:00"), "05:01").state == "ran", "however late: it had begun in time"


def test_unchanged_is_a_slot_that_was_skipped(tmp_path):
    desk = Desk(tmp_path)
    done = desk.end(desk.look("01:00"), "01:01", Result("unchanged", "nothing has changed since run-0"))
    assert (done.state, done.reason) == ("skipped", "nothing has changed since run-0")


def test_slots_of_a_pause_are_no_missed_ones_and_none_is_made_up_for(tmp_path):
    desk = Desk(tmp_path, catchup="all", overlap="queue")
    first = desk.look("01:00")
    desk.account("02:00")
    assert moves.pause(desk.table, "s", at("02:10")) and not moves.pause(desk.table, "s", at("02:11"))
    desk.end(first, "02:30")
    desk.account("04:30")
    assert desk.start("04:30") is None
    assert moves.resume(desk.table, "s", at("05:30"))
    assert desk.look("05:45") is None
    assert desk.states() == {
        "01:00": "ran", "02:00": "paused", "03:00": "paused", "04:00": "paused", "05:00": "paused",
    }  # fmt: skip
    assert desk.look("06:00").at == at("06:00")


def test_a_pause_reaches_back_to_no_slot_before_it(tmp_path):
    desk = Desk(tmp_path, catchup="none", max_lateness="10m")
    moves.pause(desk.table, "s", at("02:30"))
    moves.resume(desk.table, "s", at("03:30"))
    assert desk.states() == {"01:00": "missed", "02:00": "missed", "03:00": "paused"}


def test_nothing_is_tried_again_in_a_pause(tmp_path):
    desk = Desk(tmp_path, retries=3)
    first = desk.look("01:00")
    moves.pause(desk.table, "s", at("01:10"))
    assert desk.end(first, "01:20", BROKEN).state == "failed"
    waiting = Desk(tmp_path / "waiting", retries=3)
    waiting.end(waiting.look("01:00"), "01:01", BROKEN)
    moves.pause(waiting.table, "s", at("01:02"))
    assert waiting.states() == {"01:00": "failed"}
    assert waiting.why("01:00").endswith("not tried again: the schedule was paused while it waited")


def test_an_edit_never_fires_the_past(tmp_path):
    desk = Desk(tmp_path, cron="0 12 * * *", catchup="all")
    moves.edit(desk.table, "s", {"cron": "*/10 * * * *"}, at("06:05"))
    assert desk.look("06:05") is None and desk.states() == {}
    assert desk.look("06:10").at == at("06:10")
    with desk.table.look() as t:
        assert [(v.version, v.change) for v in t.versions("s")] == [(1, "added"), (2, "edited cron: */10 * * * *")]


def test_before_an_edit_the_old_policy_holds(tmp_path):
    desk = Desk(tmp_path, catchup="none", max_lateness="10m")
    moves.edit(desk.table, "s", {"catchup": "all"}, at("02:30"))
    assert desk.states() == {"01:00": "missed", "02:00": "missed"}


def test_an_edit_that_is_wrong_changes_nothing(tmp_path):
    desk = Desk(tmp_path)
    with pytest.raises(ValueError, match="99"):
        moves.edit(desk.table, "s", {"cron": "99 * * * *"}, at("00:30"))
    with desk.table.look() as t:
        assert t.entry("s").schedule.cron == "0 * * * *" and t.entry("s").version == 1


def test_history_outlives_the_schedule_and_the_next_of_its_name(tmp_path):
    desk = Desk(tmp_path)
    first = desk.look("01:00")
    moves.remove(desk.table, "s", at("01:30"))
    assert desk.end(first, "01:40").state == "ran", "what ran went on"
    assert desk.look("02:00") is None
    assert desk.states() == {"01:00": "ran"}
    with pytest.raises(ConfigError, match="already"):
        moves.add(desk.table, desk.schedule, at("05:30"))
        moves.add(desk.table, desk.schedule, at("05:30"))
    assert desk.look("05:45") is None
    assert desk.look("06:00").at == at("06:00")
    with desk.table.look() as t:
        assert [v.change for v in t.versions("s")] == ["added", "removed", "added"]


def test_run_now_runs_though_paused_and_waits_for_what_runs(tmp_path):
    desk = Desk(tmp_path)
    first = desk.look("01:00")
    moves.pause(desk.table, "s", at("01:10"))
    slot = moves.run_now(desk.table, "s", at("01:20"))
    assert desk.start("01:20") is None
    desk.end(first, "01:30")
    assert desk.start("01:30").at == slot.at == at("01:20")
    assert moves.run_now(desk.table, "s", at("01:20")).at == at("01:20:01"), "a slot is one moment"


def test_backfill_runs_beside_the_clock_and_takes_what_it_is_told(tmp_path):
    desk = Desk(tmp_path, catchup="none", max_lateness="10m")
    desk.end(desk.look("01:00"), "01:05")
    desk.end(desk.look("02:00"), "02:05", WRONG)
    desk.account("04:30")
    stretch = at("00:00"), at("04:00")

    def would(reprocess):
        with desk.table.look() as t:
            found = moves.to_backfill(t, t.entry("s"), *stretch, reprocess, at("04:30"))
        return [f"{s.at:%H:%M}" for s in found]

    assert would("none") == ["00:00", "03:00", "04:00"]
    assert would("failed") == ["00:00", "02:00", "03:00", "04:00"]
    assert would("completed") == ["00:00", "01:00", "02:00", "03:00", "04:00"]
    assert desk.states()["03:00"] == "missed", "looking changes nothing"
    moves.backfill(desk.table, "s", *stretch, "none", at("04:30"))
    first = desk.start("04:30")
    assert first.at == at("00:00") and desk.start("04:30") is None
    clock = desk.look("05:00")
    assert clock.at == at("05:00"), "the clock's slots have a line of their own"
    desk.end(first, "05:01")
    assert desk.start("05:01").at == at("03:00")


def test_backfill_refuses_the_future(tmp_path):
    desk = Desk(tmp_path)
    with pytest.raises(InputError, match="none is in the future"):
        moves.backfill(desk.table, "s", at("00:00"), at("09:00"), "none", at("08:00"))


def test_a_clock_that_jumps_back_runs_nothing_twice(tmp_path):
    desk = Desk(tmp_path)
    desk.end(desk.look("01:00"), "01:05")
    desk.end(desk.look("02:00"), "02:05")
    assert desk.look("00:30") is None
    assert desk.look("01:00") is None and desk.look("02:00") is None
    assert desk.look("03:00").at == at("03:00")
    with desk.table.look() as t:
        assert [s.attempts for s in t.slots("s")] == [1, 1, 1]


def test_a_clock_that_ran_ahead_leaves_the_schedule_alive(tmp_path):
    desk = Desk(tmp_path, catchup="none", max_lateness="10m")
    # A day too far, for a moment.
    desk.account("2026-03-02T00:30")
    assert len(desk.states()) == 24
    assert desk.look("01:05").at == at("01:00")
    assert desk.states() == {"01:00": "running"}


def test_no_more_than_so_many_run_at_once_and_the_longest_waiting_is_first(tmp_path):
    desk = Desk(tmp_path, cron="0 * * * *", max_lateness="3h")
    for name, minute in (("b", 10), ("a", 20)):
        other = desk.schedule.model_copy(update={"name": name, "cron": f"{minute} * * * *"})
        moves.add(desk.table, other, at("00:30"))
    desk.account("01:30")
    order = [desk.start("01:30", at_once=2) for _ in range(3)]
    assert [s and s.schedule for s in order] == ["s", "b", None]
    desk.end(order[0], "01:31")
    assert desk.start("01:31", at_once=2).schedule == "a"


def test_an_attempt_is_concluded_once(tmp_path):
    desk = Desk(tmp_path)
    slot = desk.look("01:00")
    desk.end(slot, "01:01")
    assert moves.conclude(desk.table, slot, BROKEN, at("01:02")) is None
    assert desk.states() == {"01:00": "ran"}
