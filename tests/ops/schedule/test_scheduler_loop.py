"""The scheduler's loop in this process, with a small program in the place of `assay run`."""

import fcntl
import json
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from support.clockwork import Quick

from ops.schedule import attempts, bell, moves, scheduler
from ops.schedule.schedule import Schedule
from ops.schedule.scheduler import Scheduler, run_scheduler
from ops.schedule.table import schedules_folder
from steps.contracts.errors import ConfigError

DONE = json.dumps({"name": "run-1", "status": "completed"})


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(scheduler, "_say", lambda _: None)
    schedules_folder(tmp_path).mkdir(parents=True)
    return tmp_path


def table(root):
    return Quick(schedules_folder(root) / "table.db")


def scheduling(root, monkeypatch, code, **given):
    """A scheduler of one schedule whose runs are that program, and one slot that is asked for."""
    (root / "program.sh").write_text(code)
    monkeypatch.setattr(attempts, "ASSAY", ("/bin/sh", str(root / "program.sh")))
    now = datetime.now(UTC).replace(microsecond=0)
    moves.add(table(root), Schedule(**{"name": "s", "config": "c.yaml", "cron": "0 0 1 1 *", **given}), now)
    moves.run_now(table(root), "s", now)
    return Scheduler(root, table(root), 4)


def slot(root):
    with table(root).look() as t:
        return t.slots("s")[0]


def until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_it_ends_when_nothing_is_due_or_runs(root, monkeypatch):
    assert scheduling(root, monkeypatch, f"echo '{DONE}'").serve(until_idle=True) == 0
    assert (slot(root).state, slot(root).run) == ("ran", "run-1")
    with table(root).look() as t:
        assert t.beat().stopped is not None


def test_failures_are_tried_again_after_a_wait(root, monkeypatch):
    code = f"if [ -f once ]; then echo '{DONE}'; else touch once; exit 5; fi"
    began = time.monotonic()
    scheduling(root, monkeypatch, code, retries=1, backoff="1s").serve(until_idle=True)
    assert (slot(root).state, slot(root).attempts, slot(root).failures) == ("ran", 2, 1)
    assert time.monotonic() - began < 10, "it sleeps until the retry is due, and no longer"


def test_what_takes_too_long_is_told_to_end(root, monkeypatch):
    code = "trap 'echo error: terminated >&2; exit 143' TERM; while :; do sleep 0.05; done"
    scheduling(root, monkeypatch, code, timeout="1s").serve(until_idle=True)
    assert (slot(root).state, slot(root).reason) == ("failed", "it took longer than 1s")


def test_what_doesnt_end_is_killed(root, monkeypatch):
    monkeypatch.setattr(scheduler, "_GRACE", timedelta(seconds=0.5))
    one = scheduling(root, monkeypatch, "trap '' TERM; while :; do sleep 0.05; done", timeout="1s")
    one.serve(until_idle=True)
    assert (slot(root).state, slot(root).reason) == ("failed", "it took longer than 1s")
    assert not attempts.lives(attempts.folder_of(root, slot(root)))


def test_told_to_end_it_puts_slots_back(root, monkeypatch):
    one = scheduling(root, monkeypatch, "trap 'exit 143' TERM; touch ready; while :; do sleep 0.05; done")
    thread = threading.Thread(target=one.serve, args=(False,))
    thread.start()
    until((root / "ready").is_file)
    one.end()
    thread.join(20)
    assert (slot(root).state, slot(root).failures) == ("queued", 0)
    assert slot(root).reason == "the scheduler was stopped; it goes on with the next one"


def test_a_command_wakes_it(root, monkeypatch):
    one = scheduling(root, monkeypatch, f"echo '{DONE}'")
    thread = threading.Thread(target=one.serve, args=(False,))
    thread.start()
    until(lambda: slot(root).state == "ran")
    moves.run_now(table(root), "s", datetime.now(UTC) + timedelta(seconds=2))
    bell.ring(schedules_folder(root))
    # Well within the minute after which it would look by itself.
    until(lambda: slot(root).state == "ran" and slot(root).at > datetime.now(UTC) - timedelta(seconds=20))
    with table(root).look() as t:
        assert [s.state for s in t.slots("s")] == ["ran", "ran"]
    one.end()
    thread.join(20)


def test_one_serves_a_state_folder(root):
    with (schedules_folder(root) / "scheduler.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another scheduler serves"):
            run_scheduler(root)
        assert run_scheduler(root, until_idle=True) == 0, "a line of a crontab that comes while one works is no error"


def test_a_lock_that_a_dead_one_left_is_free(root):
    (schedules_folder(root) / "scheduler.lock").write_text("")
    assert run_scheduler(root, until_idle=True) == 0


def test_nobody_listens(root):
    bell.ring(schedules_folder(root))
    (schedules_folder(root) / "bell").touch()
    bell.ring(schedules_folder(root))
