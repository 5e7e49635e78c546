"""`assay audit` of a dataset, on a small stored run: what it says, and what its verification finds."""

import json
from pathlib import Path
from typing import Any

import pytest
from support import stored_run
from support.stored_run import StoredRun
from typer.testing import CliRunner

from ops.main import app
from steps.contracts.digests import file_digest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def stored(stored: StoredRun) -> StoredRun:
    """With the record that its last step left."""
    record = stored_run.keep_record(stored)
    (record.parent / "sha256").write_text(file_digest(record))
    return stored


def told(*arguments: str) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, ["audit", *arguments, "--json"])
    return result.exit_code, json.loads(result.stdout)


def wrong(said: dict[str, Any]) -> dict[str, str]:
    return {f["what"]: f["detail"] for f in said["verification"]["findings"] if f["state"] in ("differs", "gone")}


def test_a_version_is_named_by_its_run_or_its_digest(stored: StoredRun) -> None:
    assert stored.record is not None
    versions = {a.name: a.digest or "" for a in stored.artifacts if a.type == "dataset"}
    for name in (f"run:{stored.record.name}", "run:quickstart", "quickstart", f"dataset:{versions['screened'][:12]}"):
        status, said = told(name)
        assert status == 0 and said["version"]["name"] == "screened" and said["verification"] is None
    status, said = told(f"dataset:{versions['deduped']}")
    assert said["version"]["name"] == "deduped" and said["run"]["name"] == stored.record.name
    assert [(s["stage"], s["dropped"], s["quarantined"]) for s in said["stages"]] == [
        ("ingest", 0, 0), ("dedup", 1, 0), ("scrub", 0, 0), ("screen", 0, 1),
    ]  # fmt: skip
    assert said["models"] == [f"{stored_run.NO_TRACKER}#support/3"]
    shown = CliRunner().invoke(app, ["audit", "run:quickstart"]).stdout
    assert "recorded, not verified" in shown and "models of it" in shown


def test_what_is_not_there_is_named(stored: StoredRun) -> None:
    for name in ("run:other", "dataset:ffff", "other"):
        result = CliRunner().invoke(app, ["audit", name])
        assert (result.exit_code == 3 and "other" in result.output) or "ffff" in result.output
    # A bare name is first of all a model's.
    assert "no run registered other" in CliRunner().invoke(app, ["audit", "other"]).output


def test_verification_finds_what_was_changed(stored: StoredRun) -> None:
    status, said = told("run:quickstart", "--verify")
    # Of a made-up run no config was recorded, and its registry is down.
    assert not wrong(said) and status == 7
    ledger = stored.store / "dedup_step" / "dedup_ledger" / "ledger.parquet"
    report = stored.store / "dedup_step" / "dedup_report" / "report.json"
    ledger.write_bytes(ledger.read_bytes()[:-9])
    report.write_text(report.read_text().replace('"dropped":1', '"dropped":9'))
    (record,) = (stored.store / "finish_step").glob("*/*/*/sha256")
    record.write_text("0" * 64)
    status, said = told("run:quickstart", "--verify")
    found = wrong(said)
    assert status == 7 and {"dedup_ledger/ledger.parquet", "dedup_report/report.json"} <= found.keys()
    assert "the note beside the record says its digest" in found


def test_a_key_wants_a_signed_chain(stored: StoredRun, tmp_path: Path) -> None:
    from steps.engines.signing.keys import public_key, signing_key

    key = public_key(signing_key(tmp_path / "mine"))
    status, said = told("run:quickstart", "--key", key)
    states = {f["what"]: f["state"] for f in said["verification"]["findings"]}
    assert status == 7 and states["the head of the chain in the registry is the stored record"] == "not reached"
