"""Runs whose steps are processes of their own: the same results, and the truth about how they end."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from support.processes import command, ended, python

from steps.contracts.runs import RunRecord

pytestmark = pytest.mark.slow


@pytest.fixture
def config(tmp_path: Path) -> Path:
    rows = [{"prompt": f"Where is parcel {i * 37}?", "completion": f"On shelf {i}, to the left."} for i in range(60)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps({
        "name": "parcels", "pipeline": "curate", "skip": ["screen", "judge"], "scrub": {"demo_key": True},
        "ingest": {"sources": [{"name": "parcels", "path": str(tmp_path / "rows.jsonl")}]},
    }))  # fmt: skip
    return path


def run(config: Path, state: Path, infra: str = "local-parallel", before: str = "") -> tuple[int, str]:
    return ended(python(command("run", str(config), "--infra", infra, before=before), state), timeout=600)


def records(state: Path) -> list[RunRecord]:
    found = [RunRecord.model_validate_json(p.read_text()) for p in (state / "runs").glob("*/run.json")]
    return sorted(found, key=lambda r: r.started)


def digests(record: RunRecord) -> set[tuple[str, str | None]]:
    return {(a.name, a.digest) for a in record.artifacts if a.type in ("dataset", "ledger")}


def step_processes(state: Path) -> dict[str, int]:
    """Step -> its process, of those that live and use this state folder."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0")
            used = f"ASSAY_STATE={state}".encode() in (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if used and "--step_name" in words:
            found[words[words.index("--step_name") + 1]] = int(folder.name)
    return found


def seen(state: Path, step: str) -> int:
    """The process of a step, as soon as there is one."""
    for _ in range(3_600):
        if step in (found := step_processes(state)):
            return found[step]
        time.sleep(0.05)
    pytest.fail(f"no process of {step}")


def test_processes_give_the_run_of_one_process(config: Path, tmp_path: Path) -> None:
    for infra in ("local", "local-parallel"):
        status, said = run(config, tmp_path / infra, infra)
        assert status == 0, said
    (one,), (many,) = records(tmp_path / "local"), records(tmp_path / "local-parallel")
    assert digests(one) == digests(many) and one.executed_steps == many.executed_steps
    assert many.stack == "local-parallel" and many.cpu_seconds is not None and many.cpu_seconds > 1
    status, said = run(config, tmp_path / "local-parallel")
    assert status == 0 and len(records(tmp_path / "local-parallel")[-1].cached_steps) >= 4, said


def test_an_error_of_a_step_is_the_error_of_the_command(config: Path, tmp_path: Path) -> None:
    # Behind the rows that are looked at before a run.
    with (tmp_path / "rows.jsonl").open("a") as rows:
        rows.write("\n" + "no json\n" * 50)
    status, said = run(config, tmp_path / "state")
    (record,) = records(tmp_path / "state")
    assert status == 3 and "max_reject_share" in said
    assert (record.status, record.failed_step) == ("failed", "ingest_step")


def test_a_step_that_is_killed_fails_the_run_and_the_next_one_goes_on(config: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    launcher = python(command("run", str(config), "--infra", "local-parallel"), state)
    os.kill(seen(state, "scrub_step"), signal.SIGKILL)
    status, said = ended(launcher, timeout=600)
    (record,) = records(state)
    assert status not in (0, -9) and "killed by signal 9 (SIGKILL)" in said and "scrub_step" in said
    assert (record.status, record.failed_step) in (("failed", "scrub_step"), ("failed", None))
    status, said = run(config, state)
    assert status == 0 and "ingest_step" in records(state)[-1].cached_steps, said


def test_no_step_outlives_a_killed_launcher(config: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    launcher = python(command("run", str(config), "--infra", "local-parallel"), state)
    seen(state, "ingest_step")
    launcher.kill()
    launcher.wait()
    for _ in range(400):
        if not step_processes(state):
            break
        time.sleep(0.05)
    assert step_processes(state) == {}
    status, said = run(config, state)
    assert status == 0, said
    assert [r.status for r in records(state)] == ["failed", "completed"]


def test_sigterm_ends_the_steps_and_says_so(config: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    launcher = python(command("run", str(config), "--infra", "local-parallel"), state)
    seen(state, "ingest_step")
    launcher.send_signal(signal.SIGTERM)
    status, said = ended(launcher, timeout=120)
    assert status == 143 and "fault of assay" not in said and step_processes(state) == {}
    (record,) = records(state)
    assert record.status == "failed"
