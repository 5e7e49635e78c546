"""One run of everything; then every file that audit says to cover is damaged, and audit names it."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from itertools import cycle
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ops.main import app
from steps.contracts.runs import RunRecord

ROOT = Path(__file__).resolve().parents[2]
# docs/cli.md says that nothing is known of these.
NOT_COVERED = {"view.html", "report.html", "run_page", "start_step", "mlflow.db", ".lock"}
DAMAGES = ("flipped", "emptied", "deleted")

pytestmark = pytest.mark.slow


def assay(state: Path, *arguments: str):
    """The command in a process of its own: MLflow keeps files open. Its store isn't that of other tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ZENML_", "MLFLOW_"))}
    return subprocess.run(
        [sys.executable, "-m", "ops.main", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300,
        env={**kept, "ASSAY_STATE": str(state), "ASSAY_ROOT": str(ROOT)}, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def state(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("smoke")
    done = assay(folder, "run", "configs/runs/smoke.yaml")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def audit(state, monkeypatch):
    monkeypatch.setenv("ASSAY_STATE", str(state))
    monkeypatch.setenv("ASSAY_ROOT", str(ROOT))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return lambda *options: CliRunner().invoke(app, ["audit", "smoke", *options])


def damage(file: Path, how: str) -> None:
    whole = file.read_bytes()
    if how == "deleted":
        file.unlink()
    else:
        middle = len(whole) // 2
        file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :] if how == "flipped" else b"")


def covered(file: Path) -> bool:
    beside_record = "run_record" in file.parts and file.name != "value.json"
    return file.stat().st_size > 0 and not beside_record and not NOT_COVERED & {*file.parts, file.suffix}


def test_a_whole_run_holds(audit) -> None:
    told = json.loads(audit("--json").stdout)
    assert told["ok"] and not told["not_checked"]


def test_every_damaged_file_is_named(state, audit) -> None:
    files = [f for place in ("artifacts", "runs") for f in (state / place).rglob("*") if f.is_file() and covered(f)]
    assert len(files) > 100
    for file, how in zip(files, cycle(DAMAGES), strict=False):
        whole = file.read_bytes()
        damage(file, how)
        found = audit("--json")
        file.write_bytes(whole)
        assert found.exit_code == 7, file
        # The stored record is named by what it is of.
        named = "run.json" if "run_record" in file.parts else file.name
        assert named in found.output, (file, found.output)
    assert audit().exit_code == 0


@pytest.mark.parametrize("field", [f for f in RunRecord.model_fields if f != "registration"])
def test_every_changed_field_of_the_record_is_seen(state, audit, field) -> None:
    (file,) = state.glob("runs/*/run.json")
    whole = file.read_text()
    record = json.loads(whole)
    value = record[field]
    other = (
        [] if isinstance(value, list) and value else 7.0 if isinstance(value, float) else "2026-01-01T00:00:00+00:00"
    )
    file.write_text(
        json.dumps(record | {field: other if field != "sections" else [{"title": "t", "columns": [], "rows": []}]})
    )
    found = audit()
    file.write_text(whole)
    assert found.exit_code == (3 if field == "artifacts" else 7), found.output


@pytest.mark.parametrize("change", ["DELETE FROM model_versions", "UPDATE model_version_tags SET value = 'x'"])
def test_a_version_that_the_registry_lost_or_changed_is_seen(state, audit, change) -> None:
    file = state / "artifacts" / "mlflow.db"
    whole = file.read_bytes()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(change)
        connection.commit()
    found = audit()
    file.write_bytes(whole)
    assert found.exit_code == 7 and "regist" in found.output and "BROKEN" in found.output


@pytest.mark.parametrize("content", [None, b"", b"x" * 5000])
def test_a_registry_whose_database_is_damaged_is_named_and_left_alone(state, content) -> None:
    file = state / "artifacts" / "mlflow.db"
    whole = file.read_bytes()
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    found = assay(state, "audit", "smoke")
    left = file.read_bytes() if file.exists() else None
    file.write_bytes(whole)
    assert found.returncode == 7 and "mlflow.db" in found.stdout and left == content
