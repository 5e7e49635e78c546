"""Files in a store: whole or not at all, and what is damaged is replaced or refused."""

from pathlib import Path
from typing import Any, cast

import fsspec
import pytest

from materializers.transfer import get_file, get_lines, get_text, parsed, put_file, put_once
from steps.contracts.dedup_index import IndexManifest
from steps.contracts.digests import file_digest
from steps.contracts.errors import InputNotFoundError, IntegrityError, ServiceError


class Store:
    """What transfer uses of an artifact store, on this machine's disk and in fsspec's memory. Counts what is read."""

    def __init__(self) -> None:
        self.memory = fsspec.filesystem("memory")
        self.fetched = 0

    def exists(self, uri: str) -> bool:
        return self.memory.exists(uri) if "://" in uri else Path(uri).exists()

    def size(self, uri: str) -> int | None:
        return self.memory.size(uri)

    def open(self, uri: str, mode: str) -> Any:
        self.fetched += mode == "rb"
        return self.memory.open(uri, mode)


@pytest.fixture
def store() -> Any:
    return Store()


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    path = tmp_path / "made" / "shard"
    path.parent.mkdir()
    path.write_bytes(b"rows " * 100)
    return path


@pytest.mark.parametrize("damage", [b"rows ", b"ROWS " * 100])
def test_a_damaged_file_on_this_machine_is_replaced(tmp_path: Path, store: Any, shard: Path, damage: bytes) -> None:
    kept = tmp_path / "store" / "shard"
    put_once(shard, file_digest(shard), str(kept), store)
    kept.unlink()
    kept.write_bytes(damage)
    put_once(shard, file_digest(shard), str(kept), store)
    assert kept.read_bytes() == shard.read_bytes()


def test_a_whole_file_is_left_alone(tmp_path: Path, store: Any, shard: Path) -> None:
    kept = tmp_path / "store" / "shard"
    kept.parent.mkdir()
    kept.write_bytes(shard.read_bytes())
    before = kept.stat().st_ino
    put_once(shard, file_digest(shard), str(kept), store)
    put_once(kept, file_digest(kept), str(kept), store)
    assert kept.stat().st_ino == before and kept.read_bytes() == shard.read_bytes()


def test_a_file_cut_off_in_a_remote_store_is_replaced(store: Any, shard: Path) -> None:
    uri = "memory://cut/shard"
    with store.open(uri, "wb") as out:
        out.write(b"rows")
    put_once(shard, file_digest(shard), uri, store)
    assert store.memory.cat(uri) == shard.read_bytes()


def test_a_damaged_copy_in_the_cache_is_fetched_again(store: Any, shard: Path) -> None:
    uri, sha256 = "memory://fetched/shard", file_digest(shard)
    put_file(shard, uri, store)
    first = get_file(uri, store, sha256, "test-shards")
    assert get_file(uri, store, sha256, "test-shards") == first and store.fetched == 1
    first.write_bytes(b"no rows")
    assert get_file(uri, store, sha256, "test-shards").read_bytes() == shard.read_bytes()
    assert store.fetched == 2


def test_damage_in_the_store_is_refused_with_a_way_out(store: Any, shard: Path) -> None:
    # Bytes of its own, of which no other test left a copy in the cache.
    shard.write_bytes(b"other rows")
    uri = "memory://damaged/shard"
    with store.open(uri, "wb") as out:
        out.write(b"no rows")
    with pytest.raises(IntegrityError, match="--no-cache --set reuse=null"):
        get_file(uri, store, file_digest(shard), "test-shards")


@pytest.mark.parametrize("damage", [b"\xff{}", b'{"version": 1', b'{"version": "one"}'])
def test_a_damaged_manifest_is_refused_with_a_way_out(store: Any, damage: bytes) -> None:
    uri = "memory://manifest.json"
    with store.open(uri, "wb") as out:
        out.write(damage)
    with pytest.raises(IntegrityError, match="--no-cache --set reuse=null"):
        parsed(get_text(uri, store), IndexManifest, uri)
    with pytest.raises(IntegrityError, match="--no-cache --set reuse=null"):
        get_lines(uri, store, 3)


def test_a_file_that_is_gone_is_named_with_a_way_out(tmp_path: Path, store: Any) -> None:
    with pytest.raises(InputNotFoundError, match=r"gone\.parquet: a stored file is gone\n.*--no-cache"):
        get_file(str(tmp_path / "gone.parquet"), store, "0" * 64, "test-shards")
    with pytest.raises(InputNotFoundError, match=r"gone\.json: a stored file is gone\n.*--no-cache"):
        get_text("memory://gone.json", store)


def test_a_store_that_does_not_let_us_in_is_a_service_that_cannot_be_used() -> None:
    class Closed:
        def open(self, uri: str, mode: str) -> None:
            raise LookupError("Unable to locate credentials")

    with pytest.raises(ServiceError, match="can't be read: Unable to locate credentials") as caught:
        get_text("s3://bucket/value.json", cast(Any, Closed()))
    assert caught.value.where == "s3://bucket/value.json" and "credentials" in caught.value.hint
