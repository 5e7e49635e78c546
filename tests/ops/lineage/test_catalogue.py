"""The catalogue: the index, and what only the stores know."""

from pathlib import Path

import pytest
from support import sample_run, stored_run

from materializers import layout
from ops.lineage.catalogue import Catalogue, StoredFile, load_catalogue
from ops.run_index import run_folder, save_run
from steps.contracts.runs import RunRecord


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> stored_run.StoredRun:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    return stored_run.build(tmp_path / "root", tmp_path)


def _later(run: stored_run.StoredRun) -> RunRecord:
    """A second run that took everything from the cache."""
    assert run.record is not None
    changes = {"run_id": "99999999", "name": "quickstart-later", "started": "2026-11-22T00:00:00+00:00"}
    later = run.record.model_copy(update=changes)
    save_run(run.root, later, stored_run.CONFIG)
    return later


def test_runs_are_newest_first_and_an_artifact_that_two_runs_have_stands_once(run: stored_run.StoredRun) -> None:
    later = _later(run)
    catalogue = load_catalogue(run.root)
    assert [r.name for r in catalogue.runs] == [later.name, run.record.name]  # type: ignore[union-attr]
    held = catalogue.held("dataset")
    assert [h.artifact.name for h in held] == ["ingested", "deduped", "scrubbed", "screened", "screen_quarantined"]
    assert all([r.name for r in h.runs] == ["quickstart-2026-11-21-01-17-00", later.name] for h in held)
    assert len(catalogue.held()) == len(run.artifacts)
    assert catalogue.versions[held[0].artifact.digest or ""][0] == run.record
    assert catalogue.gaps == []


def test_a_run_that_only_its_store_knows_is_found_by_the_store(run: stored_run.StoredRun) -> None:
    stored_run.keep_record(run)
    (run_folder(run.root, run.record.name) / "run.json").unlink()  # type: ignore[union-attr]
    assert load_catalogue(run.root, [str(run.store)]).runs == (run.record,)
    # Nobody says where to look.
    alone = load_catalogue(run.root)
    assert [g.why for g in alone.gaps] == ["the run's record is gone"]


def test_a_damaged_record_of_the_index_is_no_gap_while_the_store_has_it(run: stored_run.StoredRun) -> None:
    stored_run.keep_record(run)
    later = _later(run)
    (run_folder(run.root, run.record.name) / "run.json").write_text("{")  # type: ignore[union-attr]
    catalogue = load_catalogue(run.root)
    assert catalogue.runs == (later, run.record)
    assert catalogue.gaps == []


def test_what_cannot_be_read_is_named(run: stored_run.StoredRun) -> None:
    file = stored_run.keep_record(run)
    file.write_text('{"run_id": "other"')
    gaps = load_catalogue(run.root, ["nowhere://at/all", str(run.store / "absent")]).gaps
    assert [g.where for g in gaps] == [f"file://{file}", "nowhere://at/all"]
    assert gaps[0].why.startswith("not a run record: ")
    assert gaps[1].why.startswith("can't read from the artifact store: ")


def test_files_of_artifacts(run: stored_run.StoredRun) -> None:
    catalogue = load_catalogue(run.root)
    assert run.record is not None
    by_name = {a.name: a for a in run.record.artifacts}
    deduped = list(catalogue.files(run.record, by_name["deduped"]))
    assert [f.name.partition("/")[0] for f in deduped] == [layout.MANIFEST, layout.SELECTION, "shards"]
    assert all(Path(f.uri).is_file() and f.sha256 for f in deduped)
    tuned = [f.name for f in catalogue.files(run.record, by_name["tuned"])]
    assert tuned == ["model.json", "files/adapter_config.json", "files/adapter_model.safetensors"]
    rejects = by_name["rejects"]
    assert list(catalogue.files(run.record, rejects)) == [
        StoredFile("rejects.jsonl", f"{rejects.uri}/rejects.jsonl", rejects.sha256)
    ]


def test_an_index_of_another_store_lists_its_runs_as_well(tmp_path: Path, run: stored_run.StoredRun) -> None:
    other = tmp_path / "other" / layout.RECORDS / "step" / "output"
    other.mkdir(parents=True)
    made_there = sample_run.record("elsewhere").model_copy(update={"run_id": "77", "artifact_store": "/elsewhere"})
    (other / layout.VALUE).write_text(made_there.model_dump_json())
    catalogue: Catalogue = load_catalogue(run.root, [str(tmp_path / "other")])
    assert {r.name for r in catalogue.runs} == {"elsewhere", run.record.name}  # type: ignore[union-attr]
