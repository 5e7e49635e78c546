"""The walk-through of docs/stacks.md does what it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.object_store import s3_server  # noqa: F401 - fixture

ROOT = Path(__file__).resolve().parents[3]


def commands() -> list[str]:
    text = (ROOT / "docs" / "stacks.md").read_text(encoding="utf-8")
    section = text.split("## Switch the stack")[1].split("\n## ")[0]
    return [line.partition("  #")[0].strip() for line in re.findall(r"^    (.+)$", section, re.M)]


@pytest.mark.slow
def test_commands_of_the_walk_through(s3_server: str, tmp_path: Path) -> None:  # noqa: F811
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("ZENML", "ASSAY", "MLFLOW"))},
        "ASSAY_STATE": str(tmp_path / "state"), "ASSAY_PROGRESS": "off", "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
        "HF_HUB_OFFLINE": "1", "ASSAY_ROOT": str(ROOT),
    }  # fmt: skip
    said: dict[str, str] = {}
    for command in commands():
        if command.startswith("export "):
            name, _, value = command.removeprefix("export ").partition("=")
            environment[name] = value.replace("/tmp/walk", str(tmp_path))
        elif command.startswith("assay "):
            done = subprocess.run(
                [sys.executable, "-m", "ops.main", *command.split()[1:]],
                cwd=ROOT, env={**environment, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=1500,
                check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            said[command] = done.stdout
        else:
            assert command.startswith(("pip install", "mkdir -p /tmp/walk")), command
    assert len(said) == 11
    assert "s3" in said["assay stack list"] and "ASSAY_S3_PATH: set" in said["assay stack show s3"]
    assert "s3://assay-test/walk: written, read back, deleted" in said["assay stack doctor s3"]
    assert "stack s3" in said["assay run configs/runs/smoke.yaml --dry-run"]
    assert said["assay stack diff s3"] == "s3: ZenML's store says the same\n"
    assert "same rows" in said["assay diff latest"] or "equal" in said["assay diff latest"]
    assert "removed stack 's3'" in said["assay stack remove s3 --yes"]
