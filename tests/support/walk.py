"""Walk-throughs of docs pages, executed as they stand there."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def commands(page: str, section: str) -> list[str]:
    """Commands of a section of `docs/<page>`, without their comments."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    body = text.split(f"## {section}\n")[1].split("\n## ")[0]
    return [line.partition("  #")[0].partition(" # ")[0].strip() for line in re.findall(r"^    (.+)$", body, re.M)]


def walk(said: list[str], folder: Path, instead_of: str, statuses: Mapping[str, int] | None = None) -> dict[str, str]:
    """Run them in `folder` where the page says `instead_of`; returns what each printed, by command.

    `statuses`: of commands that end with another status than 0.
    """
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("ZENML", "ASSAY", "MLFLOW"))},
        "ASSAY_STATE": str(folder / "state"), "ASSAY_PROGRESS": "off", "HF_HUB_OFFLINE": "1",
        "ASSAY_ROOT": str(ROOT), "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    printed: dict[str, str] = {}
    for written in said:
        command = written.replace(instead_of, str(folder))
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
        assert done.returncode == (statuses or {}).get(written, 0), f"{command}\n{done.stdout}{done.stderr}"
        printed[written] = done.stdout
    return printed
