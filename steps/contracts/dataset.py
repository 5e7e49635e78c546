"""A dataset version: a manifest naming immutable Parquet shards, and which of their rows belong to it.

On disk a version is a folder with `manifest.json` and, unless every row of every shard belongs to it in the
stored order and without split labels, `selection.parquet`. Shards are named by their SHA-256, so that versions
share what they don't change: dropping rows writes a selection only, and rewriting touches changed shards only.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from steps.contracts.arrays import Mask, Numbers
from steps.contracts.digests import MOST_EVEN, MultisetDigest, file_digest
from steps.contracts.errors import InputNotFoundError, IntegrityError
from steps.contracts.records import MESSAGE, SCHEMA, SCHEMA_VERSION, SPLITS, Row, current
from steps.contracts.reports import Frozen
from steps.contracts.storage import write_whole, writing

# Chosen: a shard is the unit that versions share and that is moved to a remote store, a row group what is read at once.
SHARD_ROWS = 100_000
SHARD_BYTES = 128 << 20
ROW_GROUP_ROWS = 8_192
ROW_GROUP_BYTES = 32 << 20

# Columns with few values: the others are unequal in nearly every row, so that a dictionary or bounds only cost time.
_REPEATED = [
    "kind", "source", "batch", "tools", "meta", "split", "parents.list.element",
    *(f"{c}.list.element.{f}" for c in ("messages", "chosen", "rejected") for f in ("role", "name", "weight")),
]  # fmt: skip

# Measured: compiled code loads in half a second, which the digests of so many rows take longer without it.
_COMPILED_ROWS = 500_000

_SELECTION = pa.schema([("shard", pa.int32()), ("row", pa.int32()), ("split", pa.int8())])
NO_SPLIT = -1

SplitCodes = npt.NDArray[np.int8]


class ShardEntry(Frozen):
    """One immutable Parquet file: `rows` counts all rows in the file, selected or not."""

    sha256: str
    rows: int
    bytes: int


class Manifest(Frozen):
    """What a dataset version is. `digest` depends on the (content_id, split) pairs only, not on order or sharding.

    `schema_version` is the newest that its shards may have; older ones among them are read as if they were new.
    """

    schema_version: int = SCHEMA_VERSION
    stage: str
    parent: str | None
    digest: str
    rows: int
    splits: dict[str, int]
    kinds: dict[str, int]
    shards: tuple[ShardEntry, ...]
    # SHA-256 of selection.parquet; None when all rows of all shards belong to the version, without split labels.
    selection: str | None


@dataclass(frozen=True)
class Chunk:
    """Up to ROW_GROUP_ROWS consecutive selected rows of one shard.

    `start` is the position of the first row in the version (0-based), `shard` the index of the shard.
    """

    start: int
    shard: int
    table: pa.Table


@dataclass(frozen=True)
class _ShardSelection:
    """Selected rows of one shard: ascending row numbers and split codes, both of length n."""

    rows: npt.NDArray[np.int32]
    splits: SplitCodes


class Dataset:
    """One dataset version, read lazily. Get one by `Dataset.open`, `DatasetWriter`, `select` or `rewriter`."""

    def __init__(
        self, folder: Path, manifest: Manifest, shard_paths: Sequence[Path], selection: Sequence[_ShardSelection]
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self.shard_paths = tuple(shard_paths)
        self._selection = tuple(selection)

    @property
    def digest(self) -> str:
        """Order-independent digest of the version's (content_id, split) pairs."""
        return self.manifest.digest

    @property
    def rows(self) -> int:
        """Number of rows in the version."""
        return self.manifest.rows

    def __len__(self) -> int:
        return self.manifest.rows

    @classmethod
    def open(cls, folder: Path, shard_path: Callable[[str], Path] | None = None) -> Self:
        """Open a version. `shard_path` maps a shard's SHA-256 to its file; default `folder/shards/<sha>.parquet`.

        Raises:
            InputNotFoundError: no manifest, or a shard is missing.
            IntegrityError: the selection isn't the one that the manifest names, or a newer assay wrote the rows.
        """
        file = folder / "manifest.json"
        if not file.is_file():
            raise InputNotFoundError("not a dataset version: no manifest.json", where=str(folder))
        manifest = Manifest.model_validate_json(file.read_bytes())
        if manifest.schema_version > SCHEMA_VERSION:
            raise IntegrityError(
                f"rows of schema version {manifest.schema_version}; this assay knows {SCHEMA_VERSION}",
                where=str(folder),
                hint="read it with the assay that wrote it, or a newer one",
            )
        locate = shard_path or (lambda sha: folder / "shards" / f"{sha}.parquet")
        paths = [locate(s.sha256) for s in manifest.shards]
        for path in paths:
            if not path.is_file():
                raise InputNotFoundError("a shard of this dataset version is missing", where=str(path))
        return cls(folder, manifest, paths, _read_selection(folder, manifest))

    def chunks(self, columns: Sequence[str] | None = None) -> Iterator[Chunk]:
        """The version's rows in its order, `split` filled in. `columns` limits what is read."""
        start = 0
        for index, (path, chosen) in enumerate(zip(self.shard_paths, self._selection, strict=True)):
            # pre_buffer would hold whole columns of the file; memory is to hold one row group.
            file = pq.ParquetFile(path, pre_buffer=False)
            first = 0
            for group in range(file.num_row_groups):
                size = file.metadata.row_group(group).num_rows
                lo, hi = np.searchsorted(chosen.rows, [first, first + size])
                if hi > lo:
                    table = _read_group(file, group, columns)
                    table = table if hi - lo == size else table.take(pa.array(chosen.rows[lo:hi] - first))
                    yield Chunk(start, index, _with_split(table, chosen.splits[lo:hi], columns))
                    start += int(hi - lo)
                first += size

    def at(self, positions: Numbers) -> pa.Table:
        """The rows at these positions of the version, ascending; only the row groups that hold them are read."""
        tables: list[pa.Table] = []
        start = 0
        for path, chosen in zip(self.shard_paths, self._selection, strict=True):
            lo, hi = np.searchsorted(positions, [start, start + len(chosen.rows)])
            if hi > lo:
                here = positions[lo:hi] - start
                tables += _taken(path, _ShardSelection(chosen.rows[here], chosen.splits[here]))
            start += len(chosen.rows)
        return pa.concat_tables(tables) if tables else SCHEMA.empty_table()

    def tables(self, columns: Sequence[str] | None = None, split: str | None = None) -> Iterator[pa.Table]:
        """Tables of rows, of one split when named; memory holds one row group at a time."""
        wanted = None if columns is None or "split" in columns else [*columns, "split"]
        for chunk in self.chunks(wanted or columns):
            table = chunk.table
            if split is not None:
                table = table.filter(pc.equal(table["split"], split))
            if table.num_rows:
                yield table if wanted is None or columns is None else table.select(list(columns))

    def iter_rows(self, split: str | None = None) -> Iterator[Row]:
        """Rows as dicts, of one split when named."""
        for table in self.tables(split=split):
            yield from table.to_pylist()

    def split_codes(self) -> SplitCodes:
        """Split code per row in the version's order: index into SPLITS, or NO_SPLIT. Shape (rows,)."""
        parts = [s.splits for s in self._selection]
        return np.concatenate(parts) if parts else np.empty(0, np.int8)

    def select(self, keep: Mask, folder: Path, stage: str, splits: SplitCodes | None = None) -> "Dataset":
        """A new version with the rows where `keep` is true (shape (rows,)), over the same shards.

        `splits` gives every row (kept or not) a new split code, shape (rows,); None leaves the labels as they are.
        """
        if keep.shape != (self.rows,):
            raise ValueError(f"keep has shape {keep.shape}, the dataset {self.rows} rows")
        codes = self.split_codes() if splits is None else splits.astype(np.int8)
        chosen = self._where(keep, codes)
        live = [i for i, s in enumerate(chosen) if len(s.rows)]
        return _finish(
            folder,
            stage,
            self.digest,
            [self.manifest.shards[i] for i in live],
            [self.shard_paths[i] for i in live],
            [chosen[i] for i in live],
        )

    def view(self, keep: Mask) -> "Dataset":
        """The rows where `keep` is true (shape (rows,)), for reading only: nothing is stored, the digest stays."""
        codes = self.split_codes()
        labels = Counter("" if c == NO_SPLIT else SPLITS[c] for c in codes[keep].tolist())
        manifest = self.manifest.model_copy(update={"rows": int(keep.sum()), "splits": dict(sorted(labels.items()))})
        return Dataset(self.folder, manifest, self.shard_paths, self._where(keep, codes))

    def _where(self, keep: Mask, codes: SplitCodes) -> list[_ShardSelection]:
        chosen: list[_ShardSelection] = []
        start = 0
        for old in self._selection:
            here = slice(start, start + len(old.rows))
            chosen.append(_ShardSelection(old.rows[keep[here]], codes[here][keep[here]]))
            start += len(old.rows)
        return chosen

    def rewriter(self, folder: Path, stage: str) -> "Rewriter":
        """A writer of a new version in which some rows have new content and some may be gone."""
        return Rewriter(self, folder, stage)

    def export_parquet(self, path: Path, split: str | None = None) -> int:
        """Write the version as one plain Parquet file (SCHEMA). Returns the number of rows."""
        count = 0
        partial = path.with_name(path.name + ".partial")
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if split is None and self.manifest.selection is None and len(self.shard_paths) == 1:
                # Not linked: whoever has the file may change it.
                shutil.copyfile(self.shard_paths[0], partial)
                count = self.rows
            else:
                with _parquet_writer(partial) as out:
                    for table in self.tables(split=split):
                        out.write_table(table)
                        count += table.num_rows
            partial.replace(path)
        return count


class DatasetWriter:
    """Writes a first version from tables of rows (SCHEMA). Call `close()` for the Dataset.

    Nothing names the version before `close()`; what an interrupted writer leaves is never read. `one_shard`: however
    many rows there are, for a version that no other will share.
    """

    def __init__(self, folder: Path, stage: str, parent: str | None = None, *, one_shard: bool = False) -> None:
        self.folder = folder
        self._one_shard = one_shard
        self.stage = stage
        self.parent = parent
        self._folder = folder / "shards"
        self._entries: list[ShardEntry] = []
        self._paths: list[Path] = []
        self._chosen: list[_ShardSelection] = []
        self._written = 0
        self._shard: _OpenShard | None = None
        self._group = _Group()

    @property
    def rows(self) -> int:
        """Rows added so far."""
        return self._written + self._in_shard()[0]

    def share(self, other: Dataset, start: int, stop: int) -> None:
        """Add the rows at positions [start, stop) of another version by naming its shards; nothing is copied."""
        self._end_shard()
        first = 0
        for entry, path, chosen in zip(other.manifest.shards, other.shard_paths, other._selection, strict=True):
            rows = chosen.rows[max(start - first, 0) : max(stop - first, 0)]
            first += len(chosen.rows)
            if not len(rows):
                continue
            if self._entries and self._entries[-1] == entry and self._chosen[-1].rows[-1] < rows[0]:
                rows = np.concatenate([self._chosen.pop().rows, rows])
                self._entries.pop()
                self._paths.pop()
            self._add(entry, path, _ShardSelection(rows, np.full(len(rows), NO_SPLIT, np.int8)))

    def _add(self, entry: ShardEntry, path: Path, chosen: _ShardSelection) -> None:
        self._entries.append(entry)
        self._paths.append(path)
        self._chosen.append(chosen)
        self._written = sum(len(c.rows) for c in self._chosen)

    def write(self, table: pa.Table) -> None:
        """Add rows; a `split` column in them is ignored (labels are given by `Dataset.select`)."""
        sizes = row_bytes(table)
        start = 0
        while start < table.num_rows:
            stop = start + self._room(sizes[start:])
            self._group.add(table.slice(start, stop - start), int(sizes[start:stop].sum()))
            start = stop
            rows, size = self._in_shard()
            most, limit = self._limits()
            if rows >= most or size >= limit:
                self._end_shard()
            elif self._group.rows >= ROW_GROUP_ROWS or self._group.bytes >= ROW_GROUP_BYTES:
                self._end_group()

    def _room(self, sizes: Numbers) -> int:
        """How many of the next rows, of these sizes, still belong to the row group: what is cut where depends on the
        rows alone. The row that reaches a limit is the last one.
        """
        (rows, size), (most, limit) = self._in_shard(), self._limits()
        most = min(ROW_GROUP_ROWS - self._group.rows, most - rows, len(sizes))
        left = min(ROW_GROUP_BYTES - self._group.bytes, limit - size)
        return min(most, int(np.searchsorted(np.cumsum(sizes), left)) + 1)

    def _limits(self) -> tuple[int, int]:
        """Rows and bytes of a shard."""
        return (1 << 62, 1 << 62) if self._one_shard else (SHARD_ROWS, SHARD_BYTES)

    def _in_shard(self) -> tuple[int, int]:
        """Rows and bytes of the shard that is being gathered."""
        shard = self._shard
        return self._group.rows + (shard.rows if shard else 0), self._group.bytes + (shard.bytes if shard else 0)

    def write_rows(self, rows: Sequence[Row]) -> None:
        """Add rows given as dicts."""
        self.write(pa.Table.from_pylist(list(rows), schema=SCHEMA))

    def _end_group(self) -> None:
        if self._group.rows:
            self._shard = self._shard or _OpenShard(self._folder)
            self._shard.write(pa.concat_tables(self._group.tables), self._group.bytes)
            self._group = _Group()

    def _end_shard(self) -> None:
        self._end_group()
        if self._shard is not None:
            entry, path = self._shard.close()
            self._add(entry, path, _all_of(entry.rows))
            self._shard = None

    def close(self) -> Dataset:
        """Finish and name the version."""
        self._end_shard()
        return _finish(self.folder, self.stage, self.parent, self._entries, self._paths, self._chosen)


class Rewriter:
    """Takes the chunks of `parent.chunks()` in order, each with its new table, and writes changed shards only."""

    def __init__(self, parent: Dataset, folder: Path, stage: str) -> None:
        self.parent = parent
        self.folder = folder
        self.stage = stage
        self._entries: list[ShardEntry] = []
        self._paths: list[Path] = []
        self._chosen: list[_ShardSelection] = []
        self._shard: int | None = None
        self._tables: list[pa.Table] = []
        self._keep: list[Mask] = []
        self._changed = False

    def put(self, chunk: Chunk, table: pa.Table | None = None, keep: Mask | None = None) -> None:
        """Hand over one chunk of all columns: `table` is its new content (None: unchanged), `keep` what stays."""
        if chunk.shard != self._shard:
            self._end_shard()
            self._shard = chunk.shard
        self._changed = self._changed or table is not None
        new = chunk.table if table is None else table
        if new.num_rows != chunk.table.num_rows:
            raise ValueError("a rewritten chunk must keep its rows; drop them with `keep`")
        self._tables.append(new)
        self._keep.append(np.ones(new.num_rows, bool) if keep is None else keep)

    def add(self, table: pa.Table) -> None:
        """Rows (SCHEMA, with their split labels) that the parent lacks, as one shard after those put so far."""
        self._end_shard()
        self._shard = None
        labels = [NO_SPLIT if s is None else SPLITS.index(s) for s in table["split"].to_pylist()]
        entry, path = _stored(self.folder / "shards", table)
        self._append(entry, path, _ShardSelection(_all_of(entry.rows).rows, np.array(labels, np.int8)))

    def _end_shard(self) -> None:
        if self._shard is None:
            return
        keep = np.concatenate(self._keep)
        old = self.parent._selection[self._shard]
        if self._changed:
            table = pa.concat_tables(self._tables).filter(pa.array(keep))
            if table.num_rows:
                entry, path = _stored(self.folder / "shards", table)
                self._append(entry, path, _ShardSelection(_all_of(entry.rows).rows, old.splits[keep]))
        elif keep.any():
            entry, path = self.parent.manifest.shards[self._shard], self.parent.shard_paths[self._shard]
            self._append(entry, path, _ShardSelection(old.rows[keep], old.splits[keep]))
        self._tables, self._keep, self._changed = [], [], False

    def _append(self, entry: ShardEntry, path: Path, chosen: _ShardSelection) -> None:
        self._entries.append(entry)
        self._paths.append(path)
        self._chosen.append(chosen)

    def close(self) -> Dataset:
        """Finish and name the new version."""
        self._end_shard()
        return _finish(self.folder, self.stage, self.parent.digest, self._entries, self._paths, self._chosen)


@dataclass
class _Group:
    """Rows that become one row group."""

    tables: list[pa.Table] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0

    def add(self, table: pa.Table, size: int) -> None:
        self.tables.append(table)
        self.rows += table.num_rows
        self.bytes += size


class _OpenShard:
    """A shard that is being written, row group by row group; `close` names it by its SHA-256."""

    def __init__(self, folder: Path) -> None:
        self.rows = self.bytes = 0
        self._folder = folder
        self._partial = folder / f"{id(self):x}.partial"
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = _parquet_writer(self._partial)

    def write(self, table: pa.Table, size: int = 0) -> None:
        """Add rows (split label removed) of so many bytes as one row group."""
        bare = table.set_column(
            table.schema.get_field_index("split"), SCHEMA.field("split"), pa.nulls(len(table), pa.string())
        )
        with writing(self._folder):
            # In one piece: how rows came together makes no difference to the file.
            self._file.write_table(bare.cast(SCHEMA).combine_chunks(), ROW_GROUP_ROWS)
        self.rows += len(table)
        self.bytes += size

    def close(self) -> tuple[ShardEntry, Path]:
        with writing(self._folder):
            self._file.close()
            sha = file_digest(self._partial)
            path = self._folder / f"{sha}.parquet"
            self._partial.replace(path)
        return ShardEntry(sha256=sha, rows=self.rows, bytes=path.stat().st_size), path


def _parquet_writer(path: Path) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, SCHEMA, compression="zstd", use_dictionary=_REPEATED, write_statistics=_REPEATED)


def _stored(folder: Path, table: pa.Table) -> tuple[ShardEntry, Path]:
    """The rows (split label removed) as one shard."""
    shard = _OpenShard(folder)
    shard.write(table)
    return shard.close()


def row_bytes(table: pa.Table) -> Numbers:
    """Bytes of each row's texts: document, tools, meta, and what messages hold. Shape (rows,)."""
    return np.concatenate([np.zeros(0, np.int64), *(_batch_bytes(b) for b in table.to_batches())])


def _batch_bytes(batch: pa.RecordBatch) -> Numbers:
    total = np.zeros(batch.num_rows, np.int64)
    for name in ("text", "tools", "meta"):
        total += _lengths(batch.column(name))
    for name in ("messages", "chosen", "rejected"):
        lists = batch.column(name)
        parts = dict(zip([f.name for f in MESSAGE], lists.values.flatten(), strict=True))
        sizes = sum(_lengths(parts[part]) for part in ("content", "tool_calls", "reasoning"))
        before = np.concatenate(([0], np.cumsum(sizes)))
        ends = np.asarray(lists.offsets)
        total += before[ends[1:]] - before[ends[:-1]]
    return total


def _lengths(texts: pa.Array) -> Numbers:
    if texts.null_count == len(texts):
        return np.zeros(len(texts), np.int64)
    return np.asarray(pc.fill_null(pc.binary_length(texts), 0)).astype(np.int64)


def _all_of(rows: int) -> _ShardSelection:
    return _ShardSelection(np.arange(rows, dtype=np.int32), np.full(rows, NO_SPLIT, np.int8))


def _taken(path: Path, wanted: _ShardSelection) -> Iterator[pa.Table]:
    """Some rows of one shard, a table per row group that has any."""
    file = pq.ParquetFile(path, pre_buffer=False)
    first = 0
    for group in range(file.num_row_groups):
        size = file.metadata.row_group(group).num_rows
        lo, hi = np.searchsorted(wanted.rows, [first, first + size])
        if hi > lo:
            table = _read_group(file, group, None).take(pa.array(wanted.rows[lo:hi] - first))
            yield _with_split(table, wanted.splits[lo:hi], None)
        first += size


def _read_group(file: pq.ParquetFile, group: int, columns: Sequence[str] | None) -> pa.Table:
    wanted = SCHEMA.names if columns is None else [c for c in columns if c != "split"]
    return current(file.read_row_group(group, columns=wanted), wanted)


def _with_split(table: pa.Table, codes: SplitCodes, columns: Sequence[str] | None) -> pa.Table:
    if columns is not None and "split" not in columns:
        return table
    labels = pa.DictionaryArray.from_arrays(
        pa.array(codes, pa.int8(), mask=codes == NO_SPLIT), pa.array(SPLITS, pa.string())
    ).cast(pa.string())
    at = table.schema.get_field_index("split")
    table = table.append_column("split", labels) if at < 0 else table.set_column(at, SCHEMA.field("split"), labels)
    return table if columns is None else table.select(list(columns))


def _read_selection(folder: Path, manifest: Manifest) -> list[_ShardSelection]:
    if manifest.selection is None:
        return [_all_of(s.rows) for s in manifest.shards]
    path = folder / "selection.parquet"
    if not path.is_file() or file_digest(path) != manifest.selection:
        raise IntegrityError("selection.parquet is missing or isn't the one that the manifest names", where=str(folder))
    table = pq.read_table(path)
    shard, row, split = (table[c].to_numpy() for c in ("shard", "row", "split"))
    bounds = np.searchsorted(shard, np.arange(len(manifest.shards) + 1))
    return [_ShardSelection(row[a:b], split[a:b]) for a, b in pairwise(bounds)]


def _finish(
    folder: Path,
    stage: str,
    parent: str | None,
    entries: Sequence[ShardEntry],
    paths: Sequence[Path],
    chosen: Sequence[_ShardSelection],
) -> Dataset:
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        selection = _write_selection(folder, entries, chosen)
    draft = Manifest(
        stage=stage, parent=parent, digest="", rows=sum(len(c.rows) for c in chosen), splits={}, kinds={},
        shards=tuple(entries), selection=selection,
    )  # fmt: skip
    dataset = Dataset(folder, draft, paths, chosen)
    digest, splits, kinds = _summarize(dataset)
    dataset.manifest = draft.model_copy(update={"digest": digest, "splits": splits, "kinds": kinds})
    write_whole(folder / "manifest.json", dataset.manifest.model_dump_json(indent=1))
    return dataset


def _write_selection(folder: Path, entries: Sequence[ShardEntry], chosen: Sequence[_ShardSelection]) -> str | None:
    whole = all(len(c.rows) == e.rows and (c.splits == NO_SPLIT).all() for e, c in zip(entries, chosen, strict=True))
    if whole:
        return None
    path = folder / "selection.parquet"
    shard = np.repeat(np.arange(len(chosen), dtype=np.int32), [len(c.rows) for c in chosen])
    table = pa.table(
        [shard, np.concatenate([c.rows for c in chosen]), np.concatenate([c.splits for c in chosen])], schema=_SELECTION
    )
    partial = folder / "selection.parquet.partial"
    pq.write_table(table, partial, compression="zstd")
    partial.replace(path)
    return file_digest(path)


def _summarize(dataset: Dataset) -> tuple[str, dict[str, int], dict[str, int]]:
    """Digest, rows per split label ("" for none), rows per kind."""
    digest = MultisetDigest()
    splits: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    compiled = dataset.rows >= _COMPILED_ROWS
    for chunk in dataset.chunks(["content_id", "kind", "split"]):
        labels = pc.fill_null(chunk.table["split"], "")
        here = _counted(labels)
        for label in here:
            ids = chunk.table["content_id"]
            ids = ids if len(here) == 1 else ids.filter(pc.equal(labels, label))
            for piece in ids.chunks:
                _add_ids(digest, piece, f"\t{label}", compiled=compiled)
        splits.update(here)
        kinds.update(_counted(chunk.table["kind"]))
    return digest.hexdigest(), dict(sorted(splits.items())), dict(sorted(kinds.items()))


def _counted(values: pa.ChunkedArray) -> dict[str, int]:
    return {v["values"]: v["counts"] for v in pc.value_counts(values).to_pylist()}


def _add_ids(digest: MultisetDigest, ids: pa.StringArray, end: str, *, compiled: bool) -> None:
    """Add each id with `end` behind it."""
    _, offsets, data = ids.buffers()
    if compiled and len(ids):
        ends = np.frombuffer(offsets, np.int32)[ids.offset : ids.offset + len(ids) + 1]
        width = int(ends[1] - ends[0])
        if 0 < width <= MOST_EVEN - len(end) and (np.diff(ends) == width).all():
            digest.update_even(np.frombuffer(data, np.uint8)[ends[0] : ends[-1]], width, end)
            return
    digest.update(f"{content_id}{end}" for content_id in ids.to_pylist())
