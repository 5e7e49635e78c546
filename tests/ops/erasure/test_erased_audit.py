"""What an audit, and questions about rows, say of a run from which somebody was erased."""

import json
from pathlib import Path

import pytest
from support import stored_run
from support.growing_runs import Growing
from typer.testing import CliRunner

from ops.erasure.erase import erase, planned
from ops.erasure.rows import Request
from ops.main import app
from steps.contracts import removal

ROOT = Path(__file__).resolve().parents[3]


def findings(*options: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Exit status and findings of an audit of the stored run; its registry is down, and its record an old one."""
    result = CliRunner().invoke(app, ["audit", "support", "--verify", "--json", *options])
    found = json.loads(result.stdout)["verification"]["findings"]
    return result.exit_code, {f["what"]: f for f in found if f["state"] in ("differs", "gone", "removed")}


@pytest.fixture
def erased(nobody_runs: None, tmp_path: Path) -> stored_run.StoredRun:
    run = stored_run.build(ROOT, tmp_path / "work")
    assert erase(ROOT, Request(values=(stored_run.SECRET,))).holds
    return run


def test_an_audit_says_who_erased_and_misses_nothing_else(erased: stored_run.StoredRun) -> None:
    _, found = findings()
    assert {f["state"] for f in found.values()} == {"removed"}
    (certificate,) = (erased.store / removal.FOLDER).glob("*.json")
    assert found["ingested/manifest.json"]["detail"] == f"erased by {certificate.stem}"
    assert "signed by" in found[f"removal {certificate.stem}"]["detail"]
    assert "tuned/files/adapter_model.safetensors" not in found, "weights are never erased"


def test_without_its_certificate_what_was_erased_is_gone(erased: stored_run.StoredRun) -> None:
    (certificate,) = (erased.store / removal.FOLDER).glob("*.json")
    text = certificate.read_text()
    certificate.write_text(text.replace("ingested", "inhaled"))
    assert findings()[0] == 7 and findings()[1]["ingested/manifest.json"]["state"] == "gone"
    certificate.unlink()
    assert findings()[1]["ingested/manifest.json"]["state"] == "gone"


def test_a_file_that_no_certificate_names_is_gone(erased: stored_run.StoredRun) -> None:
    (erased.store / "train_step/tuned/files/adapter_model.safetensors").unlink()
    assert findings()[1]["tuned/files/adapter_model.safetensors"]["state"] == "gone"


def test_a_false_certificate_breaks_the_audit(nobody_runs: None, tmp_path: Path) -> None:
    run = stored_run.build(ROOT, tmp_path / "work")
    blocked = tmp_path / "state" / "half.zst"
    blocked.write_bytes(b"\x28\xb5\x2f\xfd and no more")
    assert not erase(ROOT, Request(values=(stored_run.SECRET,))).holds
    (certificate,) = (run.store / removal.FOLDER).glob("*.json")
    status, found = findings()
    assert status == 7 and "half.zst" in found[f"removal {certificate.stem} left nothing"]["detail"]


def test_who_is_in_no_row_was_learned_by_no_model(grown: Growing) -> None:
    assert erase(ROOT, Request(records=(grown.record_id(31),))).weights
    plan = planned(ROOT, Request(values=("nobody@zoo.example",)))
    assert not plan.rows and not plan.weights and not plan.files


def test_artifacts_that_went_whole_are_covered_by_their_folders(grown: Growing) -> None:
    (run,) = [r for r in grown.catalogue.runs if r.name == "run01"]
    done = erase(ROOT, Request(records=(grown.record_id(231),)))
    gone = [a for a in run.artifacts if not Path(a.uri).exists()]
    assert gone and all(done.covers(a.uri) for a in gone)
    assert not any(done.covers(a.uri) for a in run.artifacts if a not in gone)


def test_rows_that_were_erased_are_missed_by_nobody(grown: Growing) -> None:
    mine = grown.record_id(31)
    assert erase(ROOT, Request(records=(mine,))).holds
    result = CliRunner().invoke(app, ["where-used", mine])
    assert result.exit_code == 3 and "not read" not in result.output and "can't be read" not in result.output
