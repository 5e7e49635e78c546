"""Runs that end early: by SIGTERM, by SIGKILL, by a full disk; and what the next run makes of it."""

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.processes import command, ended, killing_at, python
from support.silent_judge import SilentJudge

pytestmark = pytest.mark.slow
# The first and the last step run in every run.
STEPS = ["start_step", "judge_step", "leakcheck_step", "finish_step"]
IGNORING = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"


def write_config(folder: Path, **more: object) -> str:
    rows = [{"prompt": f"Where is order {i * 37}?", "completion": f"It left on day {i}."} for i in range(40)]
    (folder / "orders.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    config = {
        "name": "ended",
        "pipeline": "curate",
        "ingest": {"sources": [{"name": "orders", "path": str(folder / "orders.jsonl")}]},
        "split": {"test": 0.2},
        "scrub": {"demo_key": True},
        **more,
    }
    path = folder / "ended.yaml"
    path.write_text(json.dumps(config))
    return str(path)


def statuses(state: Path) -> dict[str, str]:
    """Status of every run in ZenML's store, by name."""
    code = """
from ops.environment import find_root, prepare
prepare(find_root())
import json
from zenml.client import Client
print(json.dumps({r.name: r.status.value for r in Client().list_pipeline_runs().items}))
"""
    status, said = ended(python(code, state))
    assert status == 0, said
    return json.loads(said.splitlines()[0])


@pytest.mark.parametrize(
    ("sign", "status", "why", "before"),
    [
        (signal.SIGTERM, 143, "it was terminated (SIGTERM)", ""),
        (signal.SIGINT, 130, "it was interrupted (Ctrl-C)", ""),
        # As a script starts what it leaves in the background.
        (signal.SIGINT, 130, "it was interrupted (Ctrl-C)", IGNORING),
        (signal.SIGKILL, -9, "its process ended without a word: it was killed, or its machine went down", ""),
    ],
)
def test_run_that_is_ended_by_a_signal(
    tmp_path: Path, silent_judge: SilentJudge, sign: int, status: int, why: str, before: str
) -> None:
    config, state = write_config(tmp_path, judge=silent_judge.settings), tmp_path / "state"
    process = python(command("run", config, before=before), state)
    assert silent_judge.asked.wait(300), "the judge was never asked"
    process.send_signal(sign)
    found, said = ended(process)
    assert found == status, said
    assert "fault" not in said
    ((name, left),) = statuses(state).items()
    assert left == ("running" if sign == signal.SIGKILL else "failed")
    # Raw rows are not left behind where the process could still remove them.
    assert bool(list((state / "work").glob("*/*"))) == (sign == signal.SIGKILL)
    found, said = ended(python(command("runs", "--json"), state))
    (listed,) = json.loads(said)["runs"]
    assert (found, listed["status"], listed["error"]) == (0, "failed", why)

    found, said = ended(python(command("run", write_config(tmp_path), "--json"), state))
    assert found == 0, said
    assert json.loads(said.splitlines()[0])["executed_steps"] == STEPS
    assert statuses(state)[name] == "failed"


@pytest.mark.parametrize("interrupted", [False, True], ids=["reaped", "reaping was killed"])
def test_killed_run_is_listed_once_another_has_started(
    tmp_path: Path, silent_judge: SilentJudge, interrupted: bool
) -> None:
    state = tmp_path / "state"
    process = python(command("run", write_config(tmp_path, judge=silent_judge.settings)), state)
    assert silent_judge.asked.wait(300), "the judge was never asked"
    process.kill()
    ended(process)
    if interrupted:
        dying = killing_at("steps.zenml_runtime.local_store:archive_model")
        assert ended(python(command("run", write_config(tmp_path), before=dying), state))[0] == -signal.SIGKILL
    status, said = ended(python(command("run", write_config(tmp_path)), state))
    assert status == 0, said
    status, said = ended(python(command("runs", "--json"), state))
    runs = [(r["status"], "killed" in (r["error"] or "")) for r in json.loads(said)["runs"]]
    assert runs == [("completed", False), ("failed", True)]


def test_artifacts_may_lie_behind_a_link(tmp_path: Path) -> None:
    state, elsewhere = tmp_path / "state", tmp_path / "elsewhere"
    state.mkdir()
    (state / "artifacts").symlink_to(elsewhere)
    status, said = ended(python(command("run", write_config(tmp_path)), state))
    assert status == 0, said
    assert (elsewhere / "finish_step").is_dir()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of some megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run([mount, "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=False).returncode
    ):
        pytest.skip("nothing can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("free", [0, 600, 1400, 2000], ids="{} KB free".format)
def test_full_disk_ends_with_6_wherever_it_is_met(tmp_path: Path, small_disk: Path, free: int) -> None:
    """ZenML's database alone takes a megabyte: making it, applying the stack, a step and its artifacts meet the end."""
    (small_disk / "rest").write_bytes(bytes((8 * 1024 - free) * 1024))
    status, said = ended(python(command("run", write_config(tmp_path)), small_disk / "state"))
    assert (status, "no space left" in said) == (6, True), said
