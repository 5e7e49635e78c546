"""Dataset versions: what is shared, what the digest depends on, what is refused."""

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.contracts import dataset as dataset_module
from steps.contracts.dataset import Dataset, DatasetWriter
from steps.contracts.errors import InputNotFoundError, IntegrityError, StorageError
from steps.contracts.records import SCHEMA, SPLITS, Row, content_id_of, make_row, message


def rows(count: int) -> list[Row]:
    return [
        make_row(
            kind="conversation",
            source="s/a.jsonl",
            locator=f"line:{i}",
            raw=str(i).encode(),
            messages=[message("user", f"question {i}"), message("assistant", f"answer {i}")],
        )
        for i in range(count)
    ]


def write(folder: Path, content: list[Row]) -> Dataset:
    writer = DatasetWriter(folder, "ingest")
    for start in range(0, len(content), 7):
        writer.write_rows(content[start : start + 7])
    return writer.close()


def locator(*folders: Path):
    def locate(sha: str) -> Path:
        return next(p for f in folders if (p := f / "shards" / f"{sha}.parquet").is_file())

    return locate


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_module, "SHARD_ROWS", 10)
    monkeypatch.setattr(dataset_module, "ROW_GROUP_ROWS", 4)


def test_rows_come_back_as_written(tmp_path: Path, small_shards: None) -> None:
    content = rows(57)
    written = write(tmp_path, content)
    assert len(written.manifest.shards) > 3
    assert list(Dataset.open(tmp_path).iter_rows()) == content
    assert next(iter(written.tables())).schema.equals(SCHEMA)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.randoms(use_true_random=False))
def test_digest_depends_on_content_not_on_order(tmp_path_factory, count: int, rng: random.Random) -> None:
    content = rows(count)
    shuffled = content[:]
    rng.shuffle(shuffled)
    one = write(tmp_path_factory.mktemp("a"), content)
    two = write(tmp_path_factory.mktemp("b"), shuffled)
    fewer = write(tmp_path_factory.mktemp("c"), content[1:])
    assert one.digest == two.digest != fewer.digest


def test_select_writes_no_text_and_keeps_labels(tmp_path: Path, small_shards: None) -> None:
    first = write(tmp_path / "one", rows(40))
    keep = np.arange(40) % 3 != 0
    labels = np.where(np.arange(40) % 5 == 0, SPLITS.index("test"), SPLITS.index("train")).astype(np.int8)
    second = first.select(keep, tmp_path / "two", "split", labels)
    assert not (tmp_path / "two" / "shards").exists()
    assert second.manifest.parent == first.digest
    again = Dataset.open(tmp_path / "two", locator(tmp_path / "one"))
    expected = {r["record_id"]: SPLITS[c] for r, c, k in zip(rows(40), labels, keep, strict=True) if k}
    assert {r["record_id"]: r["split"] for r in again.iter_rows()} == expected
    assert sum(t.num_rows for t in again.tables(["record_id"], split="test")) == second.manifest.splits["test"]


def test_labels_change_the_digest(tmp_path: Path) -> None:
    first = write(tmp_path / "one", rows(6))
    keep = np.ones(6, bool)
    train = first.select(keep, tmp_path / "two", "split", np.zeros(6, np.int8))
    test = first.select(keep, tmp_path / "three", "split", np.full(6, 2, np.int8))
    assert len({first.digest, train.digest, test.digest}) == 3


def test_rewriter_touches_changed_shards_only(tmp_path: Path, small_shards: None) -> None:
    first = write(tmp_path / "one", rows(40))
    labels = (np.arange(40) % 2).astype(np.int8)
    second = first.select(np.arange(40) != 3, tmp_path / "two", "split", labels)
    rewriter = second.rewriter(tmp_path / "three", "scrub")
    for chunk in second.chunks():
        table = chunk.table
        if "question 25" in str(table.column("messages")):
            changed = table.to_pylist()
            for row in changed:
                row["messages"][0]["content"] = row["messages"][0]["content"].replace("question 25", "Q")
                row["content_id"] = content_id_of(row)
            rewriter.put(chunk, pa.Table.from_pylist(changed, schema=SCHEMA))
        else:
            rewriter.put(chunk)
    third = rewriter.close()
    shared = {s.sha256 for s in second.manifest.shards} & {s.sha256 for s in third.manifest.shards}
    assert len(shared) == len(second.manifest.shards) - 1
    assert third.rows == second.rows
    assert third.manifest.splits == second.manifest.splits
    assert third.digest != second.digest
    before = {r["record_id"]: (r["split"], r["messages"][0]["content"]) for r in second.iter_rows()}
    after = {r["record_id"]: (r["split"], r["messages"][0]["content"]) for r in third.iter_rows()}
    assert {k for k in before if before[k] != after[k]} == {rows(40)[25]["record_id"]}


def test_rewriter_drops_rows(tmp_path: Path, small_shards: None) -> None:
    first = write(tmp_path / "one", rows(20))
    rewriter = first.rewriter(tmp_path / "two", "screen")
    for chunk in first.chunks():
        rewriter.put(chunk, chunk.table, np.arange(len(chunk.table)) != 0)
    assert rewriter.close().rows == 20 - len(list(first.chunks()))


def test_empty_version(tmp_path: Path) -> None:
    empty = write(tmp_path / "none", [])
    assert list(Dataset.open(tmp_path / "none").iter_rows()) == []
    everything_gone = write(tmp_path / "one", rows(3)).select(np.zeros(3, bool), tmp_path / "two", "screen")
    assert everything_gone.rows == 0
    assert everything_gone.digest == empty.digest


def test_missing_shard_and_changed_selection_are_refused(tmp_path: Path) -> None:
    first = write(tmp_path / "one", rows(12))
    first.select(np.arange(12) > 4, tmp_path / "two", "screen")
    with pytest.raises(InputNotFoundError, match="shard"):
        Dataset.open(tmp_path / "two")
    (tmp_path / "two" / "selection.parquet").write_bytes(b"PAR1")
    with pytest.raises(IntegrityError, match="selection"):
        Dataset.open(tmp_path / "two", locator(tmp_path / "one"))


def test_interrupted_writer_leaves_nothing_that_reads_as_a_version(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path, "ingest")
    writer.write_rows(rows(3))
    with pytest.raises(InputNotFoundError):
        Dataset.open(tmp_path)


def test_wrong_mask_length_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shape"):
        write(tmp_path / "one", rows(3)).select(np.ones(4, bool), tmp_path / "two", "screen")


def test_no_space_says_so(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")
    from steps.contracts.storage import writing

    with pytest.raises(StorageError, match="no space left"), writing(full), full.open("wb") as f:
        f.write(b"x" * 100_000)
        f.flush()
