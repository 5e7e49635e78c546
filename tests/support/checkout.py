"""A checkout of a test's own: our code, stacks and infra files, its own configs and state."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def checkout(folder: Path, *, travels: bool = False) -> Path:
    """`folder`, made. `travels`: its code goes to other machines, where links lead nowhere."""
    (folder / "configs" / "runs").mkdir(parents=True)
    (folder / "configs" / "infra").mkdir()
    (folder / ".zenml" / "stacks").mkdir(parents=True)
    for kind in ("configs/infra", ".zenml/stacks"):
        for file in (ROOT / kind).glob("*.yaml"):
            (folder / kind / file.name).symlink_to(file)
    for name in ("pipelines", "steps", "materializers", "ops", "examples", "pyproject.toml"):
        if travels and (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (folder / name).symlink_to(ROOT / name)
    return folder


def sums(folder: Path, path: str, **more: object) -> str:
    """A config of its own that curates a file of sums; its path from the checkout."""
    name = "configs/runs/sums.yaml"
    (folder / name).write_text(json.dumps({
        "name": "sums", "pipeline": "curate", "skip": ["dedup", "scrub", "screen", "judge"],
        "ingest": {"sources": [{"name": "sums", "path": path}]}, **more,
    }))  # fmt: skip
    return name


def rows(count: int) -> str:
    lines = [{"prompt": f"What is {n} plus {n}?", "completion": f"It is {2 * n}."} for n in range(count)]
    return "\n".join(map(json.dumps, lines))


class Assay:
    """The command, as its users have it, in a checkout; `environment` is all that it gets of ours."""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("ZENML_", "MLFLOW_", "ASSAY_", "AWS_"))}
        self.home = home
        self.environment = {
            **kept, "ASSAY_STATE": str(home / "state"), "ASSAY_ROOT": str(home), "PYTHONPATH": str(ROOT), **environment
        }  # fmt: skip

    def __call__(self, *told: object, status: int = 0, **more: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "ops.main", *map(str, told)], cwd=self.home, env={**self.environment, **more},
            capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def json(self, *told: object) -> dict:
        done = subprocess.run(
            [sys.executable, "-m", "ops.main", *map(str, told), "--json"], cwd=self.home, env=self.environment,
            capture_output=True, text=True, timeout=600, check=True,
        )  # fmt: skip
        return json.loads(done.stdout)
