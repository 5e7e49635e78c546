"""Each extra resolves with the pins that are given for it, and none brings another torch (needs a package index)."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
APART = ("aws", "gcp")
EXTRAS = [
    e for e in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"] if e != "dev"
]


def pins(*files: str) -> dict[str, str]:
    """Versions by name; the first file that names one decides."""
    found: dict[str, str] = {}
    for file in files:
        for name, version in re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / file).read_text(), re.M):
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version)
    return found


def constraints(extra: str, folder: Path) -> Path:
    files = [*([f"constraints-{extra}.txt"] if extra in APART else []), "constraints.txt"]
    path = folder / "constraints.txt"
    path.write_text("\n".join(f"{name}=={version}" for name, version in pins(*files).items()))
    return path


def resolved(extras: str, constraint: Path) -> dict[str, str]:
    """What pip would install, by name."""
    report = constraint.with_name("report.json")
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--dry-run", "--quiet"]
    done = subprocess.run(
        [*command, "--report", str(report), "--constraint", str(constraint), f".[{extras}]"],
        cwd=ROOT, capture_output=True, text=True, timeout=1200, check=False,
    )  # fmt: skip
    if "Could not find a version" in done.stderr and "(from versions: none)" in done.stderr:
        pytest.skip("no package index here: extras were NOT resolved")
    assert done.returncode == 0, done.stderr[-2000:]
    installed = json.loads(report.read_text())["install"]
    return {i["metadata"]["name"].lower(): i["metadata"]["version"] for i in installed}


@pytest.mark.slow
@pytest.mark.parametrize("extra", [*APART, ",".join(e for e in EXTRAS if e not in APART)])
def test_extra_resolves_and_brings_no_second_torch(extra: str, tmp_path: Path) -> None:
    path = constraints(extra, tmp_path)
    brought = resolved(extra, path)
    assert not [name for name in brought if name == "torch" or name.startswith("nvidia-")]
    known = pins(*([f"constraints-{extra}.txt"] if extra in APART else []), "constraints.txt")
    loose = {n: v for n, v in brought.items() if known.get(re.sub(r"[-_.]+", "-", n)) != v and n != "assay"}
    assert not loose, f"without a pin: {loose}"


def test_what_differs_in_an_environment_of_its_own_is_said_once() -> None:
    for extra in APART:
        assert extra in EXTRAS
        ours, theirs = pins("constraints.txt"), pins(f"constraints-{extra}.txt")
        assert "torch" not in theirs and "zenml" not in theirs and "mlflow" not in theirs
        assert not {n for n in theirs if ours.get(n) == theirs[n]}
