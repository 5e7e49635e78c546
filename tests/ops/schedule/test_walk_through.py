"""The commands of docs/schedules.md, executed in their order."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.slow


def test_every_command_of_the_walk_through_does_what_it_says(tmp_path):
    text = (ROOT / "docs" / "schedules.md").read_text()
    # Those of services' clocks are executed beside their emulators, in tests/stacks.
    before, apart, after = text.partition("## On a service's own clock")
    text = before + after.partition("\n## ")[2] if apart else text
    commands = re.findall(r"^    (assay .+)$", text, flags=re.M)
    assert len(commands) == 20
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ZENML_", "MLFLOW_"))}
    environment = {**kept, "ASSAY_STATE": str(tmp_path / "state"), "ASSAY_ROOT": str(ROOT), "PYTHONPATH": str(ROOT)}
    said = []
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "ops.main", *shlex.split(command)[1:]], cwd=tmp_path, env=environment,
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stderr}"
        said.append((command, done.stdout))
    told = dict(said)
    history = [out for command, out in said if command == "assay schedule history nightly"]
    assert all(" ran " in out and "support-" in out for out in history), "also after it was removed"
    assert "nothing" in told["assay status"].partition("needs a person")[2] or "scheduler" in told["assay status"]
    dry = next(out for command, out in said if "--dry-run" in command)
    assert "2026-03-29T00:00+00:00" in dry and "5 slots would run" in dry
    assert "2  " in told["assay schedule history nightly --versions"]
