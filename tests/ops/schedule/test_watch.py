"""Slots that come when something changes."""

import threading
from contextlib import contextmanager
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler

import pytest
from support import sample_run
from support.clockwork import Desk, at

from ops.run_index import save_run
from ops.schedule import attempts, moves, scheduler
from ops.schedule.scheduler import Scheduler
from ops.schedule.slots import Result
from ops.schedule.watch import ABSENT, mark_of
from steps.contracts.monitoring import MonitorOutcome


def test_marks_of_files_and_folders(tmp_path):
    assert mark_of(tmp_path, "a") == ABSENT
    (tmp_path / "a").write_text("1")
    first = mark_of(tmp_path, "a")
    assert first == mark_of(tmp_path, "a") != ABSENT
    (tmp_path / "a").write_text("22")
    assert mark_of(tmp_path, "a") != first
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    empty = mark_of(tmp_path, "folder")
    (tmp_path / "folder" / "deep" / "x").write_text("1")
    assert mark_of(tmp_path, "folder") != empty


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def served(folder):
    server = HTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_marks_of_urls(tmp_path):
    (tmp_path / "a.jsonl").write_text("1")
    with served(tmp_path) as url:
        first = mark_of(tmp_path, f"{url}/a.jsonl")
        assert first is not None and first == mark_of(tmp_path, f"{url}/a.jsonl")
        (tmp_path / "a.jsonl").write_text("22")
        assert mark_of(tmp_path, f"{url}/a.jsonl") not in (None, first)
        assert mark_of(tmp_path, f"{url}/b.jsonl") == ABSENT
    assert mark_of(tmp_path, f"{url}/a.jsonl") is None, "a server that is down has changed nothing"


def monitored(root, number: int, config: str = "shop-watch", status: str = "completed", **outcome) -> None:
    """A run of a config, as the index has it."""
    record = sample_run.record().model_copy(
        update={
            "run_id": f"run-{number}", "name": f"run-{number}", "config_name": config, "status": status,
            "started": f"2026-03-01T0{number}:00:00+00:00",
            "monitored": MonitorOutcome.model_validate(outcome) if outcome else None,
        }
    )  # fmt: skip
    save_run(root, record, "name: x\n")


def test_a_mark_changes_with_each_run_that_asks_for_a_new_model_and_with_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    name = "monitor:shop-watch"
    assert mark_of(tmp_path, name) == ABSENT
    monitored(tmp_path, 1, verdict="steady", retrain=False)
    monitored(tmp_path, 2, config="other", verdict="drifted", retrain=True)
    monitored(tmp_path, 3, status="failed", verdict="drifted", retrain=True)
    monitored(tmp_path, 4)
    assert mark_of(tmp_path, name) == ABSENT
    monitored(tmp_path, 5, verdict="drifted", retrain=True)
    assert mark_of(tmp_path, name) == "run-5"
    monitored(tmp_path, 6, verdict="degraded", retrain=False)
    assert mark_of(tmp_path, name) == "run-5", "one that asks for nothing undoes nothing"
    monitored(tmp_path, 7, verdict="degraded", retrain=True)
    assert mark_of(tmp_path, name) == "run-7"


def test_a_schedule_runs_once_for_what_another_one_found(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    name = "monitor:shop-watch"
    desk = Desk(tmp_path, cron=None, on_change=(name,))

    def look(now):
        return moves.changed(desk.table, "s", {name: mark_of(tmp_path, name)}, at(now))

    monitored(tmp_path, 1, verdict="drifted", retrain=True)
    assert [look(now) for now in ("02:01", "02:02")] == [None, None], "what was found before it was added is no news"
    monitored(tmp_path, 2, verdict="steady", retrain=False)
    assert [look(now) for now in ("03:01", "03:02")] == [None, None]
    monitored(tmp_path, 3, verdict="drifted", retrain=True)
    assert look("04:01") is None
    slot = look("04:02")
    assert (slot.origin, slot.reason) == ("change", "changed: monitor:shop-watch")
    desk.end(desk.look("04:02"), "04:30", Result("completed", "", "retrained"))
    assert [look(now) for now in ("05:01", "05:02")] == [None, None]


def test_the_first_look_fires_nothing_and_a_change_once(tmp_path):
    desk = Desk(tmp_path, cron=None, on_change=("a",))
    looks = [("00:01", "1"), ("00:02", "1"), ("00:03", "2")]
    assert [moves.changed(desk.table, "s", {"a": mark}, at(now)) for now, mark in looks] == [None] * 3
    slot = moves.changed(desk.table, "s", {"a": "2"}, at("00:04"))
    assert (slot.at, slot.origin, slot.reason) == (at("00:04"), "change", "changed: a")
    # While it is open another change waits, and isn't lost.
    for now in ("00:05", "00:06", "00:07"):
        assert moves.changed(desk.table, "s", {"a": "3"}, at(now)) is None
    desk.end(desk.start("00:07"), "00:08")
    assert moves.changed(desk.table, "s", {"a": "3"}, at("00:09")).at == at("00:09")
    assert moves.changed(desk.table, "s", {"a": "3"}, at("00:20")) is None


def test_what_is_being_written_is_waited_for(tmp_path):
    desk = Desk(tmp_path, cron=None, on_change=("a",))
    looks = [("00:01", "1"), ("00:02", "12"), ("00:03", "123"), ("00:03:10", "123"), ("00:04", "123")]
    found = [moves.changed(desk.table, "s", {"a": mark}, at(now)) for now, mark in looks]
    assert found[:4] == [None] * 4 and found[4].at == at("00:04")


def test_what_changes_back_meanwhile_has_not_changed(tmp_path):
    desk = Desk(tmp_path, cron=None, on_change=("a",))
    looks = [("00:01", "1"), ("00:02", "gone"), ("00:03", "1"), ("00:04", "1"), ("00:09", "1")]
    assert [moves.changed(desk.table, "s", {"a": mark}, at(now)) for now, mark in looks] == [None] * 5


def test_a_change_in_a_pause_is_not_made_up_for(tmp_path):
    desk = Desk(tmp_path, on_change=("a",))
    moves.changed(desk.table, "s", {"a": "1"}, at("00:01"))
    moves.pause(desk.table, "s", at("00:02"))
    for now in ("00:03", "00:04"):
        assert moves.changed(desk.table, "s", {"a": "2"}, at(now)) is None
    moves.resume(desk.table, "s", at("00:05"))
    assert moves.changed(desk.table, "s", {"a": "2"}, at("00:06")) is None


def test_what_is_watched_anew_is_looked_at_for_the_first_time(tmp_path):
    desk = Desk(tmp_path, on_change=("a",))
    moves.changed(desk.table, "s", {"a": "1"}, at("00:01"))
    moves.edit(desk.table, "s", {"on_change": ()}, at("00:02"))
    moves.edit(desk.table, "s", {"on_change": ("a",)}, at("00:03"))
    for now in ("00:04", "00:05"):
        assert moves.changed(desk.table, "s", {"a": "2"}, at(now)) is None


def test_schedulers_that_end_at_once_see_a_change_as_well(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(scheduler, "_say", lambda _: None)
    (tmp_path / "state" / "schedules").mkdir(parents=True)
    monkeypatch.setattr(attempts, "ASSAY", ("/bin/true",))
    desk = Desk(tmp_path, cron=None, on_change=("a",))
    for minute, content in (("00:01", "1"), ("00:02", "22"), ("00:03", "22")):
        if not (tmp_path / "a").is_file() or (tmp_path / "a").read_text() != content:
            (tmp_path / "a").write_text(content)
        # As lines of a crontab, each a process of its own.
        one = Scheduler(tmp_path, desk.table, 4, partial(at, minute))
        assert one.serve(until_idle=True) == 0
    assert [origin for _, origin in desk.slots().values()] == ["change"]


def test_a_schedule_needs_a_time_or_something_to_watch(tmp_path):
    with pytest.raises(ValueError, match="needs `cron`, or `on_change`"):
        Desk(tmp_path, cron=None)
