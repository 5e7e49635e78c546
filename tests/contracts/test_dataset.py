"""Dataset versions: what is shared, what the digest depends on, what is refused."""

import errno
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.contracts import dataset as dataset_module
from steps.contracts.dataset import NO_SPLIT, Dataset, DatasetWriter
from steps.contracts.digests import MultisetDigest, file_digest
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


@pytest.mark.slow
@pytest.mark.parametrize("even", [True, False])
def test_many_rows_have_the_digest_that_few_have(
    tmp_path: Path, small_shards: None, monkeypatch: pytest.MonkeyPatch, even: bool
) -> None:
    content = [row | {"content_id": row["content_id"] + "x" * (i % 2) * (not even)} for i, row in enumerate(rows(40))]
    keep, labels = np.arange(40) % 3 != 0, (np.arange(40) % 4 - 1).astype(np.int8)

    def labelled(name: str) -> Dataset:
        return write(tmp_path / name, content).select(keep, tmp_path / f"{name}-labelled", "split", labels)

    few = labelled("few")
    monkeypatch.setattr(dataset_module, "_COMPILED_ROWS", 1)
    many = labelled("many")
    assert many.manifest == few.manifest
    assert few.manifest.splits == {"": 6, "test": 6, "train": 7, "validation": 7}


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


def ids(version: Dataset) -> list[str]:
    return [r["record_id"] for r in version.iter_rows()]


def test_a_manifest_by_hand(tmp_path: Path, small_shards: None) -> None:
    content = rows(25)
    content[3] = make_row(kind="document", source="s", locator="d", raw=b"", text="x")
    first = write(tmp_path / "one", content)
    # However rows come: a shard is closed at ten.
    assert [s.rows for s in first.manifest.shards] == [10, 10, 5]
    for entry, path in zip(first.manifest.shards, first.shard_paths, strict=True):
        assert path == tmp_path / "one" / "shards" / f"{file_digest(path)}.parquet"
        assert (entry.sha256, entry.bytes) == (path.stem, path.stat().st_size)
        file = pq.ParquetFile(path)
        assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == (
            [4, 4, 2] if entry.rows == 10 else [4, 1]
        )
    assert (first.manifest.stage, first.manifest.parent, first.manifest.rows) == ("ingest", None, 25)
    assert (first.manifest.splits, first.manifest.kinds) == ({"": 25}, {"conversation": 24, "document": 1})
    assert first.manifest.selection is None and not (tmp_path / "one" / "selection.parquet").exists()
    keep, labels = np.arange(25) != 0, (np.arange(25) % 3).astype(np.int8)
    second = first.select(keep, tmp_path / "two", "split", labels)
    assert (second.manifest.stage, second.manifest.parent, len(second)) == ("split", first.digest, 24)
    assert second.manifest.splits == {"test": 8, "train": 8, "validation": 8}
    assert second.manifest.selection == file_digest(tmp_path / "two" / "selection.parquet")
    digest = MultisetDigest()
    digest.update(f"{r['content_id']}\t{SPLITS[i % 3]}" for i, r in enumerate(content) if i)
    assert second.digest == second.manifest.digest == digest.hexdigest()
    assert sorted(p.name for p in (tmp_path / "two").iterdir()) == ["manifest.json", "selection.parquet"]


def test_a_large_row_closes_its_shard_by_bytes_and_rows_are_counted_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_module, "SHARD_BYTES", 1)
    writer = DatasetWriter(tmp_path, "ingest", "theparent")
    writer.write_rows([])
    for n in range(2):
        writer.write_rows(rows(3))
        assert writer.rows == 3 * (n + 1)
    monkeypatch.setattr(dataset_module, "SHARD_BYTES", 1 << 30)
    writer.write_rows(rows(2))
    assert writer.rows == 8
    closed = writer.close()
    assert [s.rows for s in closed.manifest.shards] == [1] * 6 + [2]
    assert closed.manifest.parent == "theparent"


def test_one_shard_however_many_rows_is_exported_as_it_is(tmp_path: Path, small_shards: None) -> None:
    writer = DatasetWriter(tmp_path / "one", "ingest", one_shard=True)
    writer.write_rows(rows(25))
    version = writer.close()
    assert [s.rows for s in version.manifest.shards] == [25]
    assert version.export_parquet(tmp_path / "out.parquet") == 25
    assert file_digest(tmp_path / "out.parquet") == version.manifest.shards[0].sha256
    assert version.digest == write(tmp_path / "many", rows(25)).digest


def test_chunks_say_where_they_start(tmp_path: Path, small_shards: None) -> None:
    first = write(tmp_path / "one", rows(25))
    keep = np.ones(25, bool)
    keep[[0, 5, *range(10, 25)]] = False
    second = first.select(keep, tmp_path / "two", "screen")
    # Groups of 4, 4 and 2 rows; the second shard is gone, and the third.
    found = [(c.start, c.shard, c.table.num_rows) for c in second.chunks(["record_id"])]
    assert found == [(0, 0, 3), (3, 0, 3), (6, 0, 2)]
    assert [(c.start, c.shard) for c in first.chunks(["kind"])] == [
        (0, 0), (4, 0), (8, 0), (10, 1), (14, 1), (18, 1), (20, 2), (24, 2)
    ]  # fmt: skip
    assert len(second.shard_paths) == len(second.manifest.shards) == 1
    assert ids(second) == [r["record_id"] for r, k in zip(rows(25), keep, strict=True) if k]


def test_columns_and_one_split(tmp_path: Path, small_shards: None) -> None:
    labels = np.array([0, 2, -1] * 5, np.int8)
    version = write(tmp_path / "one", rows(15)).select(np.ones(15, bool), tmp_path / "two", "split", labels)
    assert next(version.tables(["kind", "record_id"], split="test")).column_names == ["kind", "record_id"]
    assert next(version.tables(["split", "kind"])).column_names == ["split", "kind"]
    assert sum(t.num_rows for t in version.tables(["kind"], split="test")) == 5
    assert [r["record_id"] for r in version.iter_rows(split="train")] == [r["record_id"] for r in rows(15)[::3]]
    assert [r["split"] for r in version.iter_rows()] == ["train", "test", None] * 5
    assert version.split_codes().tolist() == labels.tolist()
    assert version.manifest.splits == {"": 5, "test": 5, "train": 5}
    assert version.select(np.arange(15) < 3, tmp_path / "three", "x").split_codes().tolist() == [0, 2, NO_SPLIT]


def test_a_view_reads_some_rows_and_stores_nothing(tmp_path: Path, small_shards: None) -> None:
    labels = (np.arange(25) % 2).astype(np.int8)
    version = write(tmp_path / "one", rows(25)).select(np.arange(25) != 7, tmp_path / "two", "split", labels)
    before = sorted(tmp_path.rglob("*"))
    view = version.view(np.arange(24) >= 20)
    assert (view.rows, view.digest, view.folder) == (4, version.digest, version.folder)
    assert view.manifest.splits == {"train": 2, "validation": 2}
    assert ids(view) == ids(version)[20:]
    assert [r["split"] for r in view.iter_rows()] == ["validation", "train", "validation", "train"]
    assert sorted(tmp_path.rglob("*")) == before
    unlabelled = write(tmp_path / "three", rows(3))
    assert unlabelled.view(np.ones(3, bool)).manifest.splits == {"": 3}
    assert write(tmp_path / "none", []).split_codes().shape == (0,)


def test_one_file_of_a_version_or_of_one_split(tmp_path: Path, small_shards: None) -> None:
    labels = (np.arange(25) % 2).astype(np.int8)
    version = write(tmp_path / "one", rows(25)).select(np.ones(25, bool), tmp_path / "two", "split", labels)
    path = tmp_path / "not" / "there yet" / "all.parquet"
    assert version.export_parquet(path) == 25
    assert pq.read_table(path).to_pylist() == list(version.iter_rows())
    assert version.export_parquet(path, split="validation") == 12
    assert set(pq.read_table(path)["split"].to_pylist()) == {"validation"}
    assert list(path.parent.iterdir()) == [path]


def test_a_disk_that_is_full_is_named_by_what_was_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = write(tmp_path / "one", rows(3))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq, "ParquetWriter", full)
    monkeypatch.setattr(pq, "write_table", full)
    monkeypatch.setattr("shutil.copyfile", full)
    for place, use in {
        tmp_path / "all.parquet": lambda: version.export_parquet(tmp_path / "all.parquet"),
        tmp_path / "two" / "shards": lambda: write(tmp_path / "two", rows(3)),
        tmp_path / "three": lambda: version.select(np.arange(3) > 0, tmp_path / "three", "screen"),
    }.items():
        with pytest.raises(StorageError, match=f"^{place}: no space"):
            use()


def test_rows_of_another_version_are_shared_by_naming_its_shards(tmp_path: Path, small_shards: None) -> None:
    old = write(tmp_path / "old", rows(40))
    assert [s.rows for s in old.manifest.shards] == [10, 10, 10, 10]
    writer = DatasetWriter(tmp_path / "new", "ingest")
    writer.write_rows(rows(2))
    writer.share(old, 3, 15)
    assert writer.rows == 14
    # On with the same shard: it is named once. Back to an earlier row: it is named again, in the order given.
    writer.share(old, 15, 17)
    writer.share(old, 12, 13)
    writer.share(old, 30, 30)
    assert writer.rows == 17
    new = writer.close()
    shards = old.manifest.shards
    assert list(new.manifest.shards[1:]) == [shards[0], shards[1], shards[1]]
    assert len(list((tmp_path / "new" / "shards").iterdir())) == 1
    wanted = [r["record_id"] for r in (*rows(2), *rows(40)[3:17], rows(40)[12])]
    assert ids(new) == wanted == ids(Dataset.open(tmp_path / "new", locator(tmp_path / "old", tmp_path / "new")))
    assert set(new.split_codes().tolist()) == {NO_SPLIT}


def test_a_row_that_is_shared_twice_is_there_twice(tmp_path: Path, small_shards: None) -> None:
    old = write(tmp_path / "old", rows(10))
    writer = DatasetWriter(tmp_path / "new", "ingest")
    for start, stop in ((4, 5), (4, 7), (6, 7)):
        writer.share(old, start, stop)
    assert ids(writer.close()) == [rows(10)[i]["record_id"] for i in (4, 4, 5, 6, 6)]


def test_rows_that_a_parent_lacks_are_added_after_it_with_their_labels(tmp_path: Path, small_shards: None) -> None:
    labels = (np.arange(20) % 2).astype(np.int8)
    first = write(tmp_path / "one", rows(20)).select(np.ones(20, bool), tmp_path / "two", "split", labels)
    rewriter = first.rewriter(tmp_path / "three", "judge")
    chunks = list(first.chunks())
    for chunk in chunks:
        rewriter.put(chunk)
    more = [{**r, "split": s} for r, s in zip(rows(23)[20:], ("test", None, "train"), strict=True)]
    rewriter.add(pa.Table.from_pylist(more, schema=SCHEMA))
    new = rewriter.close()
    assert (new.manifest.stage, new.manifest.parent) == ("judge", first.digest)
    assert ids(new) == [r["record_id"] for r in rows(23)]
    assert new.split_codes().tolist() == [*labels.tolist(), 2, NO_SPLIT, 0]
    assert new.manifest.shards[:-1] == first.manifest.shards
    assert [p.stem for p in (tmp_path / "three" / "shards").iterdir()] == [new.manifest.shards[-1].sha256]


def test_a_rewriter_keeps_a_shard_some_rows_or_none(tmp_path: Path, small_shards: None) -> None:
    labels = (np.arange(40) % 3).astype(np.int8)
    first = write(tmp_path / "one", rows(40)).select(np.ones(40, bool), tmp_path / "two", "split", labels)
    rewriter = first.rewriter(tmp_path / "three", "screen")
    stays = np.ones(40, bool)
    # Of the first shard a few rows go unchanged, of the second all do, of the third all go though it was rewritten.
    stays[[1, 2]], stays[10:] = False, False
    for chunk in first.chunks():
        keep = stays[chunk.start : chunk.start + chunk.table.num_rows]
        rewriter.put(chunk, chunk.table if chunk.shard == 2 else None, keep)
    new = rewriter.close()
    assert new.manifest.shards == first.manifest.shards[:1]
    assert ids(new) == [r["record_id"] for r, k in zip(rows(40), stays, strict=True) if k]
    assert new.split_codes().tolist() == labels[stays].tolist()
    assert not (tmp_path / "three" / "shards").exists()


def test_a_rewritten_chunk_keeps_its_rows(tmp_path: Path) -> None:
    first = write(tmp_path / "one", rows(3))
    (chunk,) = first.chunks()
    with pytest.raises(ValueError, match=r"^a rewritten chunk must keep its rows; drop them with `keep`$"):
        first.rewriter(tmp_path / "two", "scrub").put(chunk, chunk.table.slice(1))


def test_refusals_say_what_and_where(tmp_path: Path) -> None:
    first = write(tmp_path / "one", rows(3))
    with pytest.raises(ValueError, match=r"^keep has shape \(4,\), the dataset 3 rows$"):
        first.select(np.ones(4, bool), tmp_path / "two", "screen")
    with pytest.raises(InputNotFoundError) as nothing:
        Dataset.open(tmp_path)
    assert str(nothing.value) == f"{tmp_path}: not a dataset version: no manifest.json"
    folder = first.select(np.arange(3) > 0, tmp_path / "two", "screen").folder
    (folder / "selection.parquet").unlink()
    with pytest.raises(IntegrityError) as selection:
        Dataset.open(folder, locator(tmp_path / "one"))
    assert str(selection.value) == f"{folder}: selection.parquet is missing or isn't the one that the manifest names"
    file = tmp_path / "one" / "manifest.json"
    text = file.read_text()
    file.write_text(text.replace('"schema_version": 2', '"schema_version": 3'))
    with pytest.raises(IntegrityError) as newer:
        Dataset.open(tmp_path / "one")
    assert str(newer.value) == (
        f"{tmp_path / 'one'}: rows of schema version 3; this assay knows 2\n"
        "  way out: read it with the assay that wrote it, or a newer one"
    )
    file.write_text(text)
    first.shard_paths[0].unlink()
    with pytest.raises(InputNotFoundError) as missing:
        Dataset.open(tmp_path / "one")
    assert str(missing.value) == f"{first.shard_paths[0]}: a shard of this dataset version is missing"


def test_only_columns_that_are_asked_for_are_read_and_given(tmp_path: Path, small_shards: None) -> None:
    version = write(tmp_path / "not" / "there", rows(25))
    asked = ["record_id", "text"]
    assert {tuple(chunk.table.column_names) for chunk in version.chunks(asked)} == {tuple(asked)}
    assert {tuple(table.column_names) for table in version.tables(asked)} == {tuple(asked)}
    assert {tuple(table.column_names) for table in version.tables([*asked, "split"])} == {(*asked, "split")}
    stored = pq.ParquetFile(version.shard_paths[0]).metadata.row_group(0)
    assert {stored.column(i).compression for i in range(stored.num_columns)} == {"ZSTD"}
