import fsspec
import pytest
from support import stored_run

from ops.row_history import Rows
from ops.run_index import artifacts_of
from pipelines.report.collect import collect
from steps.contracts.errors import InputNotFoundError, IntegrityError, ServiceError
from steps.contracts.runs import RunRecord


@pytest.fixture
def stored(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    return stored_run.build(tmp_path, tmp_path / "work")


@pytest.fixture
def remote(stored) -> RunRecord:
    """The same run in a store that is no local folder."""
    memory = fsspec.filesystem("memory")
    if memory.exists("/bucket"):
        memory.rm("/bucket", recursive=True)
    memory.put(str(stored.store), "/bucket/run", recursive=True)
    text = stored.record.model_dump_json().replace(str(stored.store), "memory://bucket/run")
    return RunRecord.model_validate_json(text)


def of(run, kind, number=0):
    return run.of_type(kind)[number]


def test_local_and_remote_stores_read_alike(stored, remote):
    here, there = artifacts_of(stored.root, stored.record), artifacts_of(stored.root, remote)
    for number in range(len(stored.record.of_type("dataset"))):
        ours, theirs = (a.dataset(of(r, "dataset", number)) for a, r in ((here, stored.record), (there, remote)))
        assert ours.digest == theirs.digest
        assert list(ours.iter_rows()) == list(theirs.iter_rows())
    assert here.ledger(of(stored.record, "ledger", 1)).read() == there.ledger(of(remote, "ledger", 1)).read()
    page = collect(artifacts_of(stored.root, remote), remote)
    assert page.reports == collect(artifacts_of(stored.root, stored.record), stored.record).reports
    assert [c.ok for c in there.check_model(of(remote, "model"))] == [True, True]


def test_a_remote_row_is_explained(stored, remote):
    rows = Rows(artifacts_of(stored.root, remote), remote)
    assert rows.find("where is my order?") == sorted(r["record_id"] for r in stored.rows[:2])
    history = rows.history(stored.rows[2]["record_id"], raw=False)
    assert history.fate == "kept" and stored_run.PSEUDONYM in (history.text or "")


def test_changed_remote_weights_are_seen_though_reports_are_cached(stored, remote):
    there = artifacts_of(stored.root, remote)
    assert all(c.ok for c in there.check_model(of(remote, "model")))
    uri = of(remote, "model").uri + "/files/adapter_model.safetensors"
    with fsspec.open(uri, "wb") as f:
        f.write(b"weightz")
    assert [c.name for c in there.check_model(of(remote, "model")) if not c.ok] == ["adapter_model.safetensors"]
    fsspec.filesystem("memory").rm(uri.removeprefix("memory:/"))
    gone = [c for c in there.check_model(of(remote, "model")) if not c.ok]
    assert [c.found for c in gone] == [None]


def test_a_damaged_remote_shard_is_refused_and_not_kept(stored, remote):
    shard = next((stored.store / "shards").iterdir()).name
    uri = f"memory://bucket/run/shards/{shard}"
    good = fsspec.filesystem("memory").cat(uri.removeprefix("memory:/"))
    with fsspec.open(uri, "wb") as f:
        f.write(good[:-1] + b"x")
    refused = 0
    for artifact in remote.of_type("dataset"):
        try:
            artifacts_of(stored.root, remote).dataset(artifact)
        except IntegrityError:
            refused += 1
    assert refused
    with fsspec.open(uri, "wb") as f:
        f.write(good)
    for artifact in remote.of_type("dataset"):
        assert artifacts_of(stored.root, remote).dataset(artifact).rows


def test_gone_and_unreachable_are_told_apart(stored, remote):
    fsspec.filesystem("memory").rm("/bucket", recursive=True)
    with pytest.raises(InputNotFoundError, match="gone"):
        artifacts_of(stored.root, remote).report(of(remote, "stage_report"))
    elsewhere = of(remote, "stage_report").model_copy(update={"uri": "http://127.0.0.1:9/x"})
    with pytest.raises((ServiceError, InputNotFoundError)):
        artifacts_of(stored.root, remote).report(elsewhere)
    (stored.store / "ingest_step/ingest_report/report.json").write_text('{"stage": 1}')
    with pytest.raises(IntegrityError, match="not a readable StageReport"):
        artifacts_of(stored.root, stored.record).report(of(stored.record, "stage_report"))
