"""What is wrong with what an audit stands on: `assay audit --verify` and `assay doctor` name it, and nothing holds."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import Result
from support import stored_run
from support.stored_run import StoredRun
from typer.testing import CliRunner

from ops.commands import doctor
from ops.evidence import look
from ops.main import app
from ops.removals import collected, keep_removal
from ops.run_index import run_folder, save_run
from steps.contracts.removal import RemovedFile

ROOT = Path(__file__).resolve().parents[3]


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def evidence() -> list[dict[str, str]]:
    """What doctor says of it."""
    return [asdict(c) for c in doctor.evidence(ROOT)]


def one(stored: StoredRun, kind: str, name: str = "*") -> Path:
    return next(Path(a.uri) / name for a in stored.artifacts if a.type == kind)


def shard(stored: StoredRun) -> Path:
    return next(iter(sorted((stored.store / "shards").glob("*.parquet"))))


def cut(file: Path) -> Path:
    file.write_bytes(file.read_bytes()[:-20])
    return file


def gone(file: Path) -> Path:
    file.unlink()
    return file


DAMAGES: dict[str, Callable[[StoredRun], Path]] = {
    "a ledger cut short": lambda s: cut(one(s, "ledger", "ledger.parquet")),
    "a shard cut short": lambda s: cut(shard(s)),
    "a shard deleted by hand": lambda s: gone(shard(s)),
    "an artifact's main file deleted": lambda s: gone(one(s, "model", "model.json")),
    "weights deleted": lambda s: gone(one(s, "model", "files") / "adapter_model.safetensors"),
    "a manifest that is no JSON": lambda s: cut(one(s, "dataset", "manifest.json")),
}


def test_whole_evidence_is_told_with_its_size(stored: StoredRun) -> None:
    told = {c["name"]: c for c in json.loads(invoke("doctor", "--json").stdout)["checks"]}
    assert told["evidence"]["status"] == "ok" and told["evidence"]["found"].endswith(" files of 1 runs are there")
    assert look(ROOT).files > 20
    # Its registry is down: no fault of the files, and named.
    assert told["registry"]["status"] == "missing" and stored_run.NO_TRACKER in told["registry"]["found"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named_by_both(stored: StoredRun, damage: str) -> None:
    file = DAMAGES[damage](stored)
    result = invoke("audit", "support", "--verify", "--json")
    found = json.loads(result.stdout)["verification"]["findings"]
    wrong = [f["what"] for f in found if f["state"] in ("differs", "gone")]
    assert result.exit_code == 7 and any(file.name in what for what in wrong), wrong
    named = [c for c in evidence() if c["status"] == "damaged"]
    assert any(str(file) in c["found"] for c in named), named
    assert not any(c["name"] == "evidence" and c["status"] == "ok" for c in evidence())


def test_a_registry_that_is_down_is_named_by_both(stored: StoredRun) -> None:
    result = invoke("audit", "support", "--verify")
    assert result.exit_code == 7 or "not reached" in result.stdout
    assert "verified: " not in result.stdout and stored_run.NO_TRACKER.split("//")[1] in result.stdout
    assert any(c["status"] == "missing" and "9" in c["found"] for c in evidence())


def test_two_registries_with_the_same_name_are_named_by_both(stored: StoredRun) -> None:
    assert stored.record is not None and stored.record.registration is not None
    other = stored.record.registration.model_copy(update={"tracking_uri": "http://127.0.0.1:8"})
    save_run(ROOT, stored.record.model_copy(update={"name": "other", "run_id": "o", "registration": other}), "")
    result = invoke("audit", "support", "--verify")
    assert result.exit_code == 3 and "http://127.0.0.1:8#support" in result.output
    (told,) = [c for c in evidence() if c["name"] == "registries"]
    assert "2 registries have a model 'support'" in told["found"] and "http://127.0.0.1:8#support" in told["fix"]


def test_records_of_an_older_version_are_named_by_both(stored: StoredRun) -> None:
    assert stored.record is not None
    older = [a.model_copy(update={"sha256": None}) for a in stored.record.artifacts]
    save_run(ROOT, stored.record.model_copy(update={"artifacts": tuple(older)}), stored_run.CONFIG)
    result = invoke("audit", "support", "--verify")
    assert result.exit_code == 7 and "UNRECORDED" in result.stdout and "older version" in result.stdout
    assert any("1 runs of an older version have no digests" in c["found"] for c in evidence())


@pytest.mark.parametrize("content", ["{", '{"run_id": "7"}'])
def test_a_record_that_cant_be_read_is_named_by_both(stored: StoredRun, content: str) -> None:
    assert stored.record is not None
    file = run_folder(ROOT, stored.record.name) / "run.json"
    file.write_text(content)
    result = invoke("audit", "support", "--verify")
    assert result.exit_code == 7 and str(file) in result.output and "Traceback" not in result.output
    assert any(c["status"] == "damaged" and str(file) in c["found"] and "--sync" in c["fix"] for c in evidence())


@pytest.mark.parametrize("content", [None, b"x" * 5000])
def test_a_registry_whose_database_is_gone_or_damaged_is_named_by_both(
    stored: StoredRun, tmp_path: Path, content: bytes | None
) -> None:
    assert stored.record is not None and stored.record.registration is not None
    file = tmp_path / "mlflow.db"
    told = stored.record.registration.model_copy(update={"tracking_uri": f"sqlite:///{file}"})
    save_run(ROOT, stored.record.model_copy(update={"registration": told}), stored_run.CONFIG)
    if content is not None:
        file.write_bytes(content)
    result = invoke("audit", "support", "--verify")
    assert result.exit_code == 7 and str(file) in result.output and "Traceback" not in result.output
    assert any(c["status"] == "damaged" and str(file) in c["found"] for c in evidence())
    assert (file.read_bytes() if file.exists() else None) == content


@pytest.mark.slow
def test_a_registry_of_an_older_mlflow_is_named_by_both(stored: StoredRun, tmp_path: Path) -> None:
    from steps.engines.tracking.database import make_database

    assert stored.record is not None and stored.record.registration is not None
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    make_database(uri)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as db, db:
        db.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    told = stored.record.registration.model_copy(update={"tracking_uri": uri})
    save_run(ROOT, stored.record.model_copy(update={"registration": told}), stored_run.CONFIG)
    result = invoke("audit", "support", "--verify")
    assert result.exit_code in (5, 7) and "mlflow.db" in result.output and "Traceback" not in result.output
    assert "verified: " not in result.stdout and "out-of-date" in result.output, result.output
    assert any(c["name"] == "registry" and c["status"] == "damaged" and "older" in c["found"] for c in evidence())


def test_what_was_removed_on_purpose_is_no_damage(stored: StoredRun) -> None:
    file = gone(shard(stored))
    assert look(ROOT).damage
    keep_removal(ROOT, collected([RemovedFile(uri=str(file), what="shard")]), [str(stored.store)])
    assert not look(ROOT).damage
