from itertools import count
from pathlib import Path

import fsspec
import pytest
from support import stored_run

from materializers.artifacts import Artifacts
from materializers.integrity import check_artifact
from ops.lineage.catalogue import Catalogue
from ops.lineage.ways import Lineage, find_rows, histories
from ops.run_index import artifacts_of
from pipelines.report.collect import collect
from steps.contracts.errors import InputNotFoundError, IntegrityError, ServiceError
from steps.contracts.evaluation import Comparison, Decision, EvalReport, Registration
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


def weights(remote):
    """The checks of a model's files, by a reader that has read nothing before."""
    return [c for c in check_artifact(artifacts_of(Path(), remote), of(remote, "model")) if "files/" in c.name]


def test_local_and_remote_stores_read_alike(stored, remote):
    here, there = artifacts_of(stored.root, stored.record), artifacts_of(stored.root, remote)
    for number in range(len(stored.record.of_type("dataset"))):
        ours, theirs = (a.dataset(of(r, "dataset", number)) for a, r in ((here, stored.record), (there, remote)))
        assert ours.digest == theirs.digest
        assert list(ours.iter_rows()) == list(theirs.iter_rows())
    assert here.ledger(of(stored.record, "ledger", 1)).read() == there.ledger(of(remote, "ledger", 1)).read()
    page = collect(artifacts_of(stored.root, remote), remote)
    assert page.reports == collect(artifacts_of(stored.root, stored.record), stored.record).reports
    assert [c.ok for c in weights(remote)] == [True, True]


def test_a_remote_row_is_explained(stored, remote):
    lineage = Lineage(Catalogue(stored.root, (remote,)))
    assert list(find_rows(lineage, "where is my order?")) == sorted(r["record_id"] for r in stored.rows[:2])
    (history,) = histories(lineage, find_rows(lineage, stored.rows[2]["record_id"]), raw=False)
    assert history.ways[0].fate == "kept" and stored_run.PSEUDONYM in (history.text or "")


def test_changed_remote_weights_are_seen_though_reports_are_cached(stored, remote):
    assert all(c.ok for c in weights(remote))
    uri = of(remote, "model").uri + "/files/adapter_model.safetensors"
    with fsspec.open(uri, "wb") as f:
        f.write(b"weightz")
    assert [c.name for c in weights(remote) if not c.ok] == ["files/adapter_model.safetensors"]
    fsspec.filesystem("memory").rm(uri.removeprefix("memory:/"))
    gone = [c for c in weights(remote) if not c.ok]
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
    of_an_older_version = of(stored.record, "stage_report").model_copy(update={"sha256": None})
    with pytest.raises(IntegrityError, match="not a readable StageReport"):
        artifacts_of(stored.root, stored.record).report(of_an_older_version)


def open_artifact(store, artifact):
    """Read the artifact as whoever shows it does."""
    kinds = {"eval_report": EvalReport, "comparison": Comparison, "decision": Decision, "registration": Registration}
    readers = {"dataset": store.dataset, "ledger": store.ledger, "stage_report": store.report, "model": store.model,
               "answers": store.answers, "file": lambda a: store.file(a, "rejects.jsonl")}  # fmt: skip
    kind = kinds.get(artifact.type)
    return store.value(artifact, kind) if kind else readers[artifact.type](artifact)


@pytest.mark.parametrize("where", ["local", "remote"])
def test_a_flipped_byte_in_any_artifact_is_refused_and_named(stored, remote, where, tmp_path):
    """Also one that leaves the file readable: a report with another count, a ledger with another reason."""
    run = stored.record if where == "local" else remote
    seen = set()
    # Nothing was fetched before.
    caches = (tmp_path / f"cache-{i}" for i in count())
    for here, artifact in zip(stored.record.artifacts, run.artifacts, strict=True):
        open_artifact(Artifacts(run, next(caches)), artifact)
        file = stored_run.main_file(here)
        whole = file.read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 1):
            damaged = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
            write(artifact, file, damaged)
            with pytest.raises(IntegrityError, match="SHA-256") as found:
                open_artifact(Artifacts(run, next(caches)), artifact)
            assert found.value.where == f"{artifact.uri}/{file.name}"
        write(artifact, file, whole)
        seen.add(artifact.type)
    assert seen >= {"dataset", "ledger", "stage_report", "model", "answers", "file", "eval_report", "comparison"}


def write(artifact, file, content):
    """Put a file's bytes where the run has it."""
    if "://" not in artifact.uri:
        file.write_bytes(content)
        return
    with fsspec.open(f"{artifact.uri}/{file.name}", "wb") as f:
        f.write(content)


def test_a_damaged_copy_of_a_remote_file_is_fetched_again(stored, remote):
    store = artifacts_of(stored.root, remote)
    artifact = of(remote, "ledger")
    path = store.ledger(artifact).path
    path.write_bytes(b"damaged")
    assert artifacts_of(stored.root, remote).ledger(artifact).rows == store.ledger(artifact).rows


def test_a_damaged_local_shard_is_refused(stored):
    shard = next((stored.store / "shards").iterdir())
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    for artifact in stored.record.of_type("dataset"):
        if shard.stem in {s.sha256 for s in artifacts_of(stored.root, stored.record).manifest(artifact).shards}:
            with pytest.raises(IntegrityError, match="SHA-256"):
                artifacts_of(stored.root, stored.record).dataset(artifact)
            return
    raise AssertionError("no version has the shard")
