"""The real scheduler with real runs: killed, told to end, started again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ops.run_index import load_runs
from ops.schedule import attempts
from ops.schedule.table import open_table

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.slow
PATIENCE = 240


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    rows = [{"prompt": f"Where is order {i * 37}?", "completion": f"On its way to {i}."} for i in range(40)]
    (tmp_path / "orders.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "tiny.yaml").write_text(
        "name: tiny\npipeline: curate\nskip: [dedup, scrub, screen, judge]\n"
        f"ingest: {{sources: [{{name: orders, path: '{tmp_path}/orders.jsonl'}}]}}\n"
    )
    return tmp_path


def environment(state: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ZENML_", "MLFLOW_"))}
    return {**kept, "ASSAY_STATE": str(state / "state"), "ASSAY_ROOT": str(ROOT)}


def assay(state: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ops.main", *arguments], cwd=ROOT, env=environment(state), capture_output=True,
        text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip


class Scheduling:
    """A scheduler's process, and what it says."""

    def __init__(self, state: Path, *options: str) -> None:
        self.log = state / "scheduler.log"
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ops.main", "scheduler", *options], cwd=ROOT, env=environment(state), stderr=log
            )

    def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


def until(condition, why):
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, why
        time.sleep(0.1)
    return found


def ask(state: Path):
    """Ask for a run; returns what tells its slot as it is now."""
    slot = json.loads(assay(state, "schedule", "run-now", "s", "--json").stdout)

    def now():
        with open_table(ROOT).look() as t:
            return next(s for s in t.slots("s") if s.at.timestamp() == at)

    from datetime import datetime

    at = datetime.fromisoformat(slot["at"]).timestamp()
    return now


def begun(now):
    """The folder of the attempt that is on its way, once its run has begun."""
    slot = until(lambda: now().state == "running" and now(), "it didn't start")
    folder = attempts.folder_of(ROOT, slot)
    until((folder / "started").is_file, "it didn't begin")
    return folder


def test_a_scheduler_that_is_killed_told_to_end_and_started_again(state):
    added = assay(
        state,
        "schedule",
        "add",
        "s",
        str(state / "tiny.yaml"),
        "--cron",
        "0 0 1 1 *",
        "--retries",
        "1",
        "--backoff",
        "1s",
    )
    assert added.returncode == 0 and "no scheduler serves" in added.stderr, added.stderr
    one = Scheduling(state)
    until(lambda: "served" in assay(state, "status").stdout.replace("no scheduler serves", ""), "it doesn't serve")
    second = assay(state, "scheduler")
    assert second.returncode == 2 and "another scheduler" in second.stderr

    # A run as it should be.
    now = ask(state)
    slot = until(lambda: now().state == "ran" and now(), "it didn't run")
    (record,) = load_runs(ROOT)
    assert (record.name, record.schedule, record.status) == (slot.run, "s", "completed")
    assert record.slot == slot.at.isoformat()

    # Killed while one runs: the run goes on, and the next scheduler finds it.
    now = ask(state)
    folder = begun(now)
    assert one.stop(signal.SIGKILL) == -signal.SIGKILL and attempts.lives(folder)
    one = Scheduling(state)
    slot = until(lambda: now().state == "ran" and now(), "the run that went on isn't known")
    assert slot.attempts == 1 and "found s " in one.log.read_text()

    # Killed with its run, as when the machine goes down: it is tried again.
    now = ask(state)
    folder = begun(now)
    one.stop(signal.SIGKILL)
    attempts.tell(folder, signal.SIGKILL)
    one = Scheduling(state)
    slot = until(lambda: now().state == "ran" and now(), "it wasn't tried again")
    assert (slot.attempts, slot.failures) == (2, 1)

    # Told to end: the run ends in order, and its slot goes on with the next scheduler.
    now = ask(state)
    folder = begun(now)
    time.sleep(2)
    assert one.stop(signal.SIGTERM) == 0 and not attempts.lives(folder)
    if now().state == "queued":
        assert now().reason.startswith("the scheduler was stopped") and now().failures == 0
    assert Scheduling(state, "--until-idle").process.wait(PATIENCE) == 0
    assert now().state == "ran" and not [r for r in load_runs(ROOT) if r.ended is None]
    history = json.loads(assay(state, "schedule", "history", "s", "--json").stdout)["slots"]
    assert [s["state"] for s in history] == ["ran"] * 4
    assert [t["outcome"] for t in history[1]["tries"]] == ["failed", "completed"]


def test_slots_of_unchanged_sources_are_skipped_with_the_reason(state):
    assay(state, "schedule", "add", "s", str(state / "tiny.yaml"), "--cron", "* * * * *", "--if-changed")
    one = Scheduling(state)

    def ended(count):
        with open_table(ROOT).look() as t:
            found = [s for s in t.slots("s") if s.state in ("ran", "skipped") and s.attempts]
        return found if len(found) >= count else None

    until(lambda: ended(1), "the first slot didn't run")
    newest, oldest = until(lambda: ended(2), "the second slot didn't come")[:2]
    assert (
        oldest.state == "ran"
        and newest.state == "skipped"
        and newest.reason.startswith("nothing has changed since tiny-")
    )
    with (state / "orders.jsonl").open("a") as f:
        f.write('\n{"prompt": "Is this new?", "completion": "It is."}')
    newest = until(lambda: ended(3), "the third slot didn't come")[0]
    assert newest.state == "ran"
    assert one.stop(signal.SIGINT) == 0
