"""Attempts as real processes; a small program stands for `assay`."""

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from support import sample_run
from support.clockwork import at

from ops.run_index import save_run
from ops.schedule import attempts
from ops.schedule.schedule import Schedule
from ops.schedule.slots import Result, Slot

SCHEDULE = Schedule(name="s", config="c.yaml", cron="@daily", tz="Europe/Berlin", stack="local", overrides=("a.b=1",))
SLOT = Slot("s", at("00:00"), "running", "cron", attempts=1, started=at("00:00"))
SLOT_TEXT = "2026-03-01T01:00+01:00"


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    return tmp_path


def begin(root: Path, monkeypatch, code: str, slot: Slot = SLOT):
    program = root / "program.sh"
    program.write_text(code)
    monkeypatch.setattr(attempts, "ASSAY", ("/bin/sh", str(program)))
    return attempts.start(root, SCHEDULE, slot)


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it didn't come to that"
        time.sleep(0.01)


def result(root: Path, monkeypatch, code: str) -> Result:
    begin(root, monkeypatch, code).wait()
    return attempts.result_of(root, SCHEDULE, SLOT)


def test_what_is_started(root):
    told = attempts.command(root, SCHEDULE.model_copy(update={"if_changed": True}), SLOT)[3:]
    assert told == [
        "run", str(root / "c.yaml"), "--slot", SLOT_TEXT, "--schedule", "s", "--json",
        "--stack", "local", "--set", "a.b=1", "--if-changed",
    ]  # fmt: skip
    asked = attempts.command(root, SCHEDULE.model_copy(update={"if_changed": True}), replace(SLOT, origin="manual"))
    assert "--if-changed" not in asked, "a person who asks for a run gets one"


def test_completed(root, monkeypatch):
    said = {"name": "run-1", "status": "completed", "registration": {"status": "rejected"}}
    assert result(root, monkeypatch, f"echo '{json.dumps(said)}'") == Result("completed", "", "run-1", "rejected")
    said |= {"registration": {"status": "champion"}}
    assert result(root, monkeypatch, f"echo '{json.dumps(said)}'").gate == "promoted"


def test_unchanged(root, monkeypatch):
    said = {"status": "skipped", "reason": "nothing has changed since run-0", "since": "run-0"}
    found = result(root, monkeypatch, f"echo '{json.dumps(said)}'")
    assert found == Result("unchanged", "nothing has changed since run-0")


def test_failures_say_why_and_whether_they_may_pass(root, monkeypatch):
    said = "echo 'note: x' >&2; echo 'error: a.jsonl: no such file' >&2; echo '  way out: make it' >&2; exit"
    found = result(root, monkeypatch, f"{said} 3")
    assert found == Result("failed", "a.jsonl: no such file way out: make it")
    assert not result(root, monkeypatch, f"{said} 2").may_pass
    assert result(root, monkeypatch, "exit 5").reason == "it ended with status 5"
    assert result(root, monkeypatch, "kill -9 $$").reason.startswith("it was killed (signal 9)")


def test_the_run_of_a_failure_is_found_by_its_slot(root, monkeypatch):
    record = sample_run.record("run-7").model_copy(
        update={"schedule": "s", "slot": SLOT_TEXT, "status": "failed", "started": "2026-03-01T00:00:05+00:00"}
    )
    save_run(root, record, "")
    save_run(root, record.model_copy(update={"name": "run-6", "slot": "2026-02-28T01:00+01:00"}), "")
    save_run(root, record.model_copy(update={"name": "old", "started": "2026-02-28T00:00:05+00:00"}), "")
    assert result(root, monkeypatch, "exit 5").run == "run-7"


def test_what_was_never_begun(root):
    assert attempts.result_of(root, SCHEDULE, SLOT).kind == "never"
    assert not attempts.lives(attempts.folder_of(root, SLOT))


def test_an_attempt_lives_without_who_started_it_and_its_end_is_waited_for(root, monkeypatch):
    folder = attempts.folder_of(root, SLOT)
    process = begin(root, monkeypatch, "sleep 0.5; exit 7")
    until((folder / "started").is_file)
    assert attempts.lives(folder) and os.getsid(process.pid) == process.pid != os.getsid(0)
    attempts.wait(folder)
    assert not attempts.lives(folder) and (folder / "status").read_text() == "7\n"
    process.wait()


def test_told_to_end_it_says_how_it_ended(root, monkeypatch):
    folder = attempts.folder_of(root, SLOT)
    process = begin(
        root, monkeypatch, "trap 'echo error: terminated >&2; exit 143' TERM; touch ready; while :; do sleep 0.05; done"
    )
    until((root / "ready").is_file)
    attempts.tell(folder, signal.SIGTERM)
    process.wait()
    assert attempts.result_of(root, SCHEDULE, SLOT) == Result("failed", "terminated")


def test_killed_whole_it_ended_without_a_word_unless_the_index_knows_better(root, monkeypatch):
    folder = attempts.folder_of(root, SLOT)
    process = begin(root, monkeypatch, "touch ready; sleep 60")
    until((root / "ready").is_file)
    attempts.tell(folder, signal.SIGKILL)
    process.wait()
    attempts.wait(folder)
    assert not attempts.lives(folder)
    found = attempts.result_of(root, SCHEDULE, SLOT)
    assert found.kind == "failed" and "without a word" in found.reason and found.may_pass
    record = sample_run.record("run-8").model_copy(
        update={"schedule": "s", "slot": SLOT_TEXT, "started": "2026-03-01T00:00:05+00:00"}
    )
    save_run(root, record, "")
    assert attempts.result_of(root, SCHEDULE, SLOT) == Result("completed", "", "run-8", "promoted")


def test_old_output_goes(root, monkeypatch):
    monkeypatch.setattr(attempts, "_KEPT", 2)
    for attempt in (1, 2, 3, 4):
        begin(root, monkeypatch, "true", replace(SLOT, attempts=attempt)).wait()
    attempts.tidy(root, "s")
    assert len(list((root / "state" / "schedules" / "attempts" / "s").iterdir())) == 2
