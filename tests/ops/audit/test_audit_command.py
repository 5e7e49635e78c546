"""`assay audit`: what it says of a small stored run, and what its verification finds."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import stored_run
from typer.testing import CliRunner

from ops.main import app
from ops.removals import collected, keep_removal
from ops.run_index import report_path, save_run
from steps.contracts import removal
from steps.contracts.evaluation import ANSWERS_SCHEMA
from steps.contracts.removal import RemovedFile
from steps.engines.signing.keys import public_key, signing_key

ROOT = Path(__file__).resolve().parents[3]


def invoke(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def told(*arguments: str):
    return json.loads(invoke(*arguments, "--json").stdout)


def verified(*options: str):
    """Exit status, and what doesn't hold, of a verification of the stored run; its registry is down."""
    result = invoke("audit", "support", "--verify", "--json", *options)
    found = json.loads(result.stdout)["verification"]["findings"]
    bad = {f["what"]: f for f in found if f["state"] in ("differs", "gone")}
    return result.exit_code, bad


REGISTRIES = [f"{stored_run.NO_TRACKER}#support", f"{stored_run.NO_TRACKER}#support/3"]


@pytest.mark.parametrize("reference", ["support", "support@champion", "support/3", "model:support", *REGISTRIES])
def test_audit_says_everything_behind_a_model(stored, reference):
    audit = told("audit", reference)
    assert audit["verification"] is None, "nothing is said to hold that wasn't looked at"
    assert audit["dataset"]["rows_by_source"] == {"mails/mails.jsonl": 3}
    assert audit["model"]["dataset_digest"] in {d["digest"] for d in audit["dataset"]["versions"]}
    assert [(s["stage"], s["dropped"], s["quarantined"]) for s in audit["stages"]] == [
        ("ingest", 0, 0), ("dedup", 1, 0), ("scrub", 0, 0), ("screen", 0, 1),
    ]  # fmt: skip
    assert audit["stages"][3]["reasons"] == {"quarantined": {"prompt_injection": 1}}
    assert audit["run"]["commit"] == stored.record.commit and audit["code"]["changed_files"] is False
    weights = {p["place"]: p["files"]["adapter_model.safetensors"] for p in audit["weights"]}
    assert set(weights) == {"artifact store", "registry"} and len(set(weights.values())) == 1


def test_counts_are_those_of_the_ledger_and_not_of_the_report(stored):
    report = stored.store / "dedup_step/dedup_report/report.json"
    edited = json.loads(report.read_text()) | {"dropped": 999, "kept": 5 - 999, "dropped_by": {"near_duplicate": 999}}
    report.write_text(json.dumps(edited))
    # Whoever edits the report mends its digests as well.
    artifacts = [stored_run.with_digest(a) if a.name == "dedup_report" else a for a in stored.record.artifacts]
    save_run(ROOT, stored.record.model_copy(update={"artifacts": tuple(artifacts)}), stored_run.CONFIG)
    dedup = told("audit", "support")["stages"][1]
    assert dedup["dropped"] == 1 and "reported 999, the ledger has 1" in dedup["reported_otherwise"][0]
    shown = invoke("audit", "support").stdout
    assert "dedup: its report says otherwise: dropped: reported 999" in shown
    assert verified()[0] == 7


@pytest.mark.parametrize("reference", ["support", "support@champion", "support/3"])
def test_versions_of_several_registries_are_never_guessed(stored, reference):
    other = stored.record.registration.model_copy(update={"tracking_uri": "http://127.0.0.1:8"})
    record = stored.record.model_copy(update={"name": "later", "run_id": "2", "registration": other})
    save_run(ROOT, record, stored_run.CONFIG)
    result = invoke("audit", reference)
    assert result.exit_code == 3 and "2 registries" in result.stderr
    assert all(f"{uri}#{reference}" in result.stderr for uri in (stored_run.NO_TRACKER, "http://127.0.0.1:8"))
    assert told("audit", f"http://127.0.0.1:8#{reference}")["run"]["name"] == "later"


def test_a_registry_that_is_down_is_not_verified(stored):
    result = invoke("audit", "support", "--verify")
    # The record is of an older version too: that weighs more.
    assert result.exit_code == 7 and "can't be reached" in result.stdout and "NOT VERIFIED" in result.stdout
    unknown = invoke("audit", f"{stored_run.NO_TRACKER}#nothing", "--json")
    assert unknown.exit_code == 5 and "can't be reached" in unknown.stderr


def files_of(stored) -> list[Path]:
    """Every file that the record of the run names."""
    return sorted(p for p in stored.store.rglob("*") if p.is_file())


@pytest.mark.slow
def test_verification_names_every_damaged_file(stored):
    files = files_of(stored)
    assert {f.name for f in files} >= {"rejects.jsonl", "about.txt", "sha256", "selection.parquet", "answers.parquet"}
    for i, file in enumerate(files):
        whole = file.read_bytes()
        file.write_bytes(whole[:-1] + b"~" if i % 3 else b"")
        if i % 3 == 1:
            file.unlink()
        status, bad = verified()
        file.write_bytes(whole)
        assert status == 7, file
        assert any(what.endswith(file.name) and f["state"] == ("gone" if i % 3 == 1 else "differs")
                   for what, f in bad.items()), (file, bad)  # fmt: skip
    assert not verified()[1]


def test_verification_shows_what_damaged_weights_break(stored):
    weights = stored.store / "train_step/tuned/files/adapter_model.safetensors"
    weights.write_bytes(b"weightz")
    status, bad = verified()
    assert status == 7 and list(bad) == [
        "stored files of quickstart-2026-11-21-01-17-00 have the recorded SHA-256",
        "tuned/files/adapter_model.safetensors", "the model's digest is that of its stored files",
    ]  # fmt: skip
    weights.unlink()
    result = invoke("audit", "support", "--verify")
    assert result.exit_code == 7 and "GONE" in result.stdout and "NOT VERIFIED: " in result.stdout


def test_scores_are_computed_from_the_answers(stored):
    file = stored.store / "evaluate_tuned_step/answers_tuned/answers.parquet"
    rows = pq.read_table(file).to_pylist()
    pq.write_table(pa.Table.from_pylist([{**rows[0], "scores": '{"rouge_l":0.5}'}], schema=ANSWERS_SCHEMA), file)
    artifacts = [stored_run.with_digest(a) if a.name == "answers_tuned" else a for a in stored.record.artifacts]
    save_run(ROOT, stored.record.model_copy(update={"artifacts": tuple(artifacts)}), stored_run.CONFIG)
    _, bad = verified()
    assert "rouge_l: reported 1, computed 0.5" in bad["scores of tuned are those of its answers"]["detail"]


@pytest.mark.parametrize(
    ("field", "value"), [("commit", "0" * 40), ("config_digest", "0" * 64), ("stack", "other"), ("error", "none")]
)
def test_verification_sees_a_changed_field_of_the_record(stored, field, value):
    stored_run.keep_record(stored)
    assert not verified()[1]
    save_run(ROOT, stored.record.model_copy(update={field: value}), stored_run.CONFIG)
    status, bad = verified()
    found = bad[f"run.json of {stored.record.name} is the stored record"]
    assert status == 7 and f"{field} differ" in found["detail"] and "runs --sync" in found["detail"]


@pytest.mark.parametrize("config", ["name: other\n", "", "{", None])
def test_verification_sees_a_changed_config(stored, config):
    file = report_path(ROOT, stored.record.name).with_name("config.yaml")
    file.unlink() if config is None else file.write_text(config)
    status, bad = verified()
    assert status == 7 and str(file) in bad[f"config.yaml of {stored.record.name} has the recorded digest"]["detail"]


def test_verification_misses_the_record_that_the_last_step_stored(stored):
    ended = stored.record.model_copy(update={"executed_steps": ("train_step", "finish_step")})
    save_run(ROOT, ended, stored_run.CONFIG)
    status, bad = verified()
    found = bad[f"run.json of {stored.record.name} is the stored record"]
    assert status == 7 and found["state"] == "gone" and "no record of run" in found["detail"]


@pytest.mark.parametrize("reference", ["support@loser", "support/9", "nothing"])
def test_audit_of_an_unknown_model_names_the_known(stored, reference):
    result = invoke("audit", reference)
    assert result.exit_code == 3 and "support/3" in result.stderr


def removed_shard(stored):
    """A shard that gc removed, with its record; returns that one's file."""
    shard = next((stored.store / "shards").glob("*.parquet"))
    done = collected([RemovedFile(uri=str(shard), what="shard of rows that no dataset names", sha256=shard.stem)])
    shard.unlink()
    keep_removal(ROOT, done, [str(stored.store)])
    return stored.store / removal.FOLDER / f"{done.id}.json"


def shard_of(bad: dict[str, dict[str, str]]) -> list[str]:
    return [f["detail"] for what, f in bad.items() if "shards/" in what]


def test_what_gc_removed_is_told_apart_from_what_is_gone(stored):
    file = removed_shard(stored)
    result = json.loads(invoke("audit", "support", "--verify", "--json").stdout)
    (found, *_) = [f for f in result["verification"]["findings"] if "shards/" in f["what"]]
    assert found["state"] == "removed" and found["detail"].startswith("removed by gc gc-")
    assert not verified()[1], "what was removed on purpose breaks no promise"
    # Another key than the one that is asked for vouches for nothing.
    other = public_key(signing_key(stored.store / "other"))
    assert "isn't signed as it must be" in shard_of(verified("--key", other)[1])[0]
    file.with_name(file.name + ".sig").unlink()
    assert "isn't signed as it must be" in shard_of(verified()[1])[0]


def test_what_was_removed_before_a_run_began_isnt_what_the_run_made(stored):
    """A shard that gc removed once may be made again, and be gone then for another reason."""
    began = datetime.now(UTC) + timedelta(days=1)
    save_run(ROOT, stored.record.model_copy(update={"started": began.isoformat(timespec="seconds")}), stored_run.CONFIG)
    removed_shard(stored)
    status, bad = verified()
    assert status == 7 and set(shard_of(bad)) == {"is gone"}


@pytest.mark.parametrize("edit", [('"by": "gc"', '"by": "erase"'), ("shards/", "shards/x"), ("{", "")])
def test_a_removal_that_was_edited_vouches_for_nothing(stored, edit):
    file = removed_shard(stored)
    file.write_text(file.read_text().replace(*edit, 1))
    status, bad = verified()
    assert status == 7 and shard_of(bad)
