"""The auditor's walk-through of docs/audit.md does what it says."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def commands() -> list[str]:
    text = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    section = text.split("## A walk-through for an auditor")[1].split("\n## ")[0]
    return [line.partition("  #")[0].strip() for line in re.findall(r"^    (.+)$", section, re.M)]


@pytest.mark.slow
def test_commands_of_the_auditors_walk_through(tmp_path: Path) -> None:
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("ZENML", "ASSAY", "MLFLOW"))},
        "ASSAY_STATE": str(tmp_path / "state"), "ASSAY_PROGRESS": "off", "HF_HUB_OFFLINE": "1",
        "ASSAY_ROOT": str(ROOT), "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    said: dict[str, str] = {}
    for written in commands():
        command = written.replace("/tmp/audit", str(tmp_path))
        if command.startswith("export "):
            name, _, value = command.removeprefix("export ").partition("=")
            environment[name] = value
            continue
        words = shlex.split(command)
        words = [sys.executable, "-m", "ops.main", *words[1:]] if words[0] == "assay" else words
        assert words[0] in (sys.executable, "openssl", "mkdir"), command
        done = subprocess.run(
            words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        said[written] = done.stdout
    assert len([c for c in said if c.startswith("assay ")]) == 5
    assert "recorded, not verified" in said["assay audit smoke"]
    assert (
        "verified: " in said["assay audit smoke --verify"] and "whose key that is" in said["assay audit smoke --verify"]
    )
    by_key = next(text for command, text in said.items() if "--key" in command)
    assert "verified: " in by_key and "whose key that is" not in by_key
    elsewhere = json.loads(next(text for command, text in said.items() if "--json" in command))
    assert elsewhere["verification"]["ok"] and not (tmp_path / "auditor" / "runs").exists()
    assert {f["state"] for f in elsewhere["verification"]["findings"]} == {"holds"}
