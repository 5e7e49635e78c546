"""Rows that lie in an object store, erased from there."""

import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest
from support.growing_runs import CONFIG, ROOT, Growing, address, phrase
from support.object_store import forget_file_systems, s3, s3_server  # noqa: F401 - fixtures

from ops.erasure import erase as erasing
from ops.erasure.erase import erase, go_on
from ops.erasure.places import Place
from ops.erasure.rows import Request
from ops.removals import read_removals
from ops.run_index import save_run
from steps.contracts import tombstones
from steps.contracts.digests import canonical_json
from steps.contracts.errors import ServiceError
from steps.contracts.runs import RunRecord
from steps.contracts.tombstones import Tombstone

pytestmark = pytest.mark.slow
CHANGED = 31


@pytest.fixture
def store(grown: Growing, s3: str, tmp_path: Path) -> Iterator[str]:  # noqa: F811 - the fixture
    """The artifact store of both runs, in a bucket, and no file of it here."""
    uri = f"{s3}-{tmp_path.name}"
    fs, root = fsspec.url_to_fs(uri)
    for run in grown.catalogue.runs:
        moved = run.model_dump_json().replace(str(grown.store), uri)
        save_run(ROOT, RunRecord.model_validate_json(moved), canonical_json(CONFIG))
    for file in (p for p in grown.store.rglob("*") if p.is_file()):
        data = file.read_bytes()
        if file.suffix == ".json":
            data = data.replace(str(grown.store).encode(), uri.encode())
        fs.pipe_file(f"{root}/{file.relative_to(grown.store).as_posix()}", data)
    shutil.rmtree(grown.store)
    yield uri
    forget_file_systems()


def everything(uri: str) -> str:
    """All that lies there and isn't left by design, Parquet opened."""
    fs, root = fsspec.url_to_fs(uri)
    fs.invalidate_cache()
    said = []
    for name in fs.find(root):
        if not {"removed", "tombstones"} & set(name.split("/")):
            data = fs.cat_file(name)
            if name.endswith(".parquet"):
                data = str(pq.read_table(BytesIO(data)).to_pylist()).encode()
            said.append(f"{name}\n{data.decode('latin1')}")
    return "\n".join(said)


def here(state: Path) -> str:
    return "\n".join(f"{p}{p.read_bytes()!r}" for p in state.rglob("*") if p.is_file() and "removed" not in p.parts)


def test_a_person_is_erased_from_a_bucket_and_from_what_was_fetched_of_it(grown: Growing, store: str) -> None:
    mine, value = grown.record_id(CHANGED), address(CHANGED)
    assert mine in everything(store) and phrase(CHANGED) in everything(store)
    done = erase(ROOT, Request(values=(value,)))
    assert done.holds and done.rows == 1 and f"artifact store {store}" in done.searched
    assert not [w for w in (mine, phrase(CHANGED), value) if w in everything(store)]
    assert not [w for w in (phrase(CHANGED), value) if w in here(grown.state)]
    assert [w.registered for w in done.weights] == [("support/1",), ("support/2",)]
    fs, root = fsspec.url_to_fs(store)
    assert len(fs.glob(f"{root}/train_step/tuned/*/*/files/adapter_model.safetensors")) == 2
    (signed,) = read_removals(store)
    assert signed.removal == done and signed.key is not None
    (stone,) = [Tombstone.model_validate_json(fs.cat_file(f)) for f in fs.find(f"{root}/{tombstones.FOLDER}")]
    assert stone.erasure == done.id and mine in stone.records and value not in stone.model_dump_json()


def test_who_is_stopped_in_a_bucket_goes_on(grown: Growing, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, remove, seen = grown.record_id(CHANGED), Place.remove, []

    def fail(place: Place, name: str) -> None:
        seen.append(name)
        if len(seen) == 9:
            raise ServiceError("the store went away", where=place.uri)
        remove(place, name)

    with monkeypatch.context() as patched, pytest.raises(ServiceError):
        patched.setattr(Place, "remove", fail)
        erase(ROOT, Request(records=(mine,)))
    assert go_on(ROOT).holds and mine not in everything(store)


def test_a_bucket_that_cannot_be_reached_stops_everything_before_anything_is_removed(
    grown: Growing, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Request(values=(address(CHANGED),))
    monkeypatch.setattr(erasing, "carry_out", lambda *_: pytest.fail("it went on"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    forget_file_systems()
    with pytest.raises(ServiceError, match="can't be looked into"):
        erase(ROOT, asked)
    assert not (grown.state / "erasures").exists()


@pytest.fixture
def versioned(s3: str) -> Iterator[None]:  # noqa: F811 - the fixture
    """The bucket keeps versions; other tests find it as it was."""
    fs, root = fsspec.url_to_fs(s3)
    bucket = root.partition("/")[0]
    fs.make_bucket_versioned(bucket)
    yield
    fs.call_s3("put_bucket_versioning", Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})


def test_old_versions_go_as_well(versioned: None, grown: Growing, store: str) -> None:
    fs, root = fsspec.url_to_fs(store)
    bucket, _, prefix = root.partition("/")
    # Written over, and removed: each is still there as an old version.
    fs.pipe_file(f"{root}/notes/a.txt", f"call {address(CHANGED)}".encode())
    fs.pipe_file(f"{root}/notes/a.txt", b"nothing")
    fs.pipe_file(f"{root}/notes/b.txt", f"call {address(CHANGED)}".encode())
    fs.rm_file(f"{root}/notes/b.txt")
    done = erase(ROOT, Request(values=(address(CHANGED),)))
    assert done.holds
    said = fs.call_s3("list_object_versions", Bucket=bucket, Prefix=prefix)
    assert not [v for v in said["Versions"] if not v["IsLatest"] and v["Key"].endswith((".parquet", "b.txt"))]
    texts = [fs.cat_file(f"{bucket}/{v['Key']}") for v in said["Versions"]]
    assert len(texts) > 20 and b"nothing" in texts and not said["IsTruncated"]
    opened = [str(pq.read_table(BytesIO(t)).to_pylist()).encode() if t[:4] == b"PAR1" else t for t in texts]
    mine = [w.encode() for w in (address(CHANGED), phrase(CHANGED), grown.record_id(CHANGED))]
    by_design = {v["Key"] for v in said["Versions"] if "/tombstones/" in v["Key"] or "/removed/" in v["Key"]}
    keys = [v["Key"] for v in said["Versions"]]
    assert not [k for k, t in zip(keys, opened, strict=True) if k not in by_design and any(w in t for w in mine)]
