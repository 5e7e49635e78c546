"""Reading and writing of cached embeddings (see `steps.contracts.embeddings`): mapped into memory, never read whole."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from steps.contracts.arrays import Numbers, Vectors
from steps.contracts.digests import file_digest
from steps.contracts.embeddings import MANIFEST, WITHOUT, CachedEmbeddings, EmbeddingsManifest, EmbeddingsPart
from steps.contracts.errors import IntegrityError
from steps.contracts.storage import write_whole, writing
from steps.engines.embed.vectors import Vector

# Shape (n,): digests of 16 bytes, compared byte by byte.
Keys: TypeAlias = npt.NDArray[np.bytes_]
Flags: TypeAlias = npt.NDArray[np.bool_]
# Keys, whether cut, vectors: of equal length.
Spooled: TypeAlias = tuple[Keys, Flags, Vectors]

_KEY_BYTES = 16
# Chosen: vectors written at once; 12 MB with 384 dimensions.
_ROWS_AT_ONCE = 8192


class CachedPart:
    """One file of an earlier run, and which of its vectors this run has asked for."""

    def __init__(self, part: EmbeddingsPart, file: Path) -> None:
        self.entry, self.file = part, file
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(file)))
            batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
            wrong = reader.schema != _schema(part.dimensions)
        except (pa.ArrowException, OSError, ValueError) as e:
            raise IntegrityError(f"not a file of vectors: {type(e).__name__}", where=str(file), hint=WITHOUT) from e
        if wrong or not batches or sum(b.num_rows for b in batches) != part.rows:
            raise IntegrityError("not the vectors that the manifest names", where=str(file), hint=WITHOUT)
        self._starts = np.cumsum([0, *(b.num_rows for b in batches[:-1])])
        self.keys: Keys = np.concatenate([_keys(b.column(0)) for b in batches])
        self.cut: Flags = np.concatenate([b.column(1).to_numpy(zero_copy_only=False) for b in batches])
        self._vectors = [_matrix(b.column(2), part.dimensions) for b in batches]
        if not (self.keys[1:] > self.keys[:-1]).all():
            raise IntegrityError("the keys are not sorted", where=str(file), hint=WITHOUT)
        self.used = np.zeros(part.rows, bool)

    def find(self, keys: Keys) -> tuple[Numbers, Flags]:
        """Where each key stands, and whether it is there; shape (keys,) both."""
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return at.astype(np.int64), self.keys[at] == keys

    def take(self, rows: Numbers) -> Vectors:
        """Vectors of these rows, shape (rows, d)."""
        found: Vectors = np.empty((len(rows), self.entry.dimensions), np.float32)
        batch = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(batch).tolist():
            here = batch == number
            found[here] = self._vectors[number][rows[here] - self._starts[number]]
        return found


class Spool:
    """Vectors of one length in the order in which they come, on disk; their keys in memory, 17 bytes per vector."""

    def __init__(self, file: Path) -> None:
        self._file = file
        with writing(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            self._out = file.open("wb")
        self._keys, self._cut = bytearray(), bytearray()
        self.dimensions = 0

    def add(self, vectors: Mapping[str, Vector]) -> None:
        """Add vectors by key (32 hex characters)."""
        for key, vector in vectors.items():
            self.dimensions = len(vector.values)
            self._keys += bytes.fromhex(key)
            self._cut.append(vector.cut)
            with writing(self._file):
                self._out.write(vector.values.astype("<f4").tobytes())

    def read(self) -> Spooled:
        """Everything added so far; the vectors are mapped from the file."""
        with writing(self._file):
            self._out.flush()
        if not self._keys:
            return np.empty(0, "S16"), np.empty(0, bool), np.empty((0, 1), np.float32)
        mapped: Vectors = np.memmap(self._file, "<f4", "r", shape=(len(self._cut), self.dimensions))
        return np.frombuffer(bytes(self._keys), "S16"), np.frombuffer(bytes(self._cut), bool), mapped

    def close(self) -> None:
        """Remove the file."""
        self._out.close()
        self._file.unlink(missing_ok=True)


def as_keys(keys: Sequence[str]) -> Keys:
    """Keys of 32 hex characters as 16 bytes each."""
    return np.frombuffer(bytes.fromhex("".join(keys)), "S16")


def write_parts(
    folder: Path, space: str, parts: Sequence[CachedPart], spool: Spool
) -> list[tuple[EmbeddingsPart, Path]]:
    """Files that hold the vectors of one space that this run asked for, and no others.

    A part stays as it is when all of it was asked for and it has twice as many rows as what is written anew: so data
    that grows shares its files, and their number grows with the logarithm of the rows. The rest goes into one new file.
    """
    new = spool.read()
    merged = [p for p in parts if p.used.any() and not p.used.all()]
    size = len(new[0]) + sum(int(p.used.sum()) for p in merged)
    stay = []
    for part in sorted((p for p in parts if p.used.all()), key=lambda p: (p.entry.rows, p.entry.name)):
        if part.entry.rows < 2 * size:
            merged.append(part)
            size += part.entry.rows
        else:
            stay.append((part.entry, part.file))
    return [*stay, _write(folder, space, new, merged)] if size else stay


def write_manifest(folder: Path, parts: Sequence[tuple[EmbeddingsPart, Path]]) -> CachedEmbeddings:
    """Name the files, which all lie in the folder then: from now on they count."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for part, file in parts:
        if file.parent != folder:
            _link(file, folder / part.name)
    ordered = sorted((part for part, _ in parts), key=lambda p: (p.space, p.name))
    manifest = EmbeddingsManifest(parts=tuple(ordered))
    write_whole(folder / MANIFEST, manifest.model_dump_json(indent=1))
    return CachedEmbeddings(manifest, tuple(folder / part.name for part in ordered))


def _link(file: Path, target: Path) -> None:
    """The same bytes under another name: a hard link, which is free since they never change, or else a copy."""
    with writing(target):
        target.unlink(missing_ok=True)
        try:
            os.link(file, target)
        except OSError:
            shutil.copyfile(file, target)


def _write(folder: Path, space: str, new: Spooled, merged: Sequence[CachedPart]) -> tuple[EmbeddingsPart, Path]:
    """One file of new vectors and of those of `merged` that were asked for, sorted by key, each key once."""
    dimensions = merged[0].entry.dimensions if merged else new[2].shape[1]
    partial = folder / "vectors.partial"
    rows = 0
    with writing(partial):
        folder.mkdir(parents=True, exist_ok=True)
        with pa.ipc.new_file(partial, _schema(dimensions)) as out:
            for keys, cut, vectors in _sorted(new, merged, dimensions):
                out.write_batch(_batch(keys, cut, vectors))
                rows += len(keys)
        digest = file_digest(partial)
        file = partial.replace(folder / f"{digest[:32]}.arrow")
    return EmbeddingsPart(name=file.name, space=space, rows=rows, dimensions=dimensions, sha256=digest), file


def _sorted(new: Spooled, merged: Sequence[CachedPart], dimensions: int) -> Iterator[Spooled]:
    """Blocks of vectors by key."""
    new_keys, new_cut, new_vectors = new
    used = [np.flatnonzero(p.used) for p in merged]
    keys = np.concatenate([new_keys, *(p.keys[u] for p, u in zip(merged, used, strict=True))])
    cut = np.concatenate([new_cut, *(p.cut[u] for p, u in zip(merged, used, strict=True))])
    # Where a vector comes from (0: the new ones, 1: the first part ...), and its row there.
    source = np.repeat(np.arange(len(used) + 1), [len(new_keys), *(len(u) for u in used)])
    row = np.concatenate([np.arange(len(new_keys)), *used])
    _, order = np.unique(keys, return_index=True)
    for start in range(0, len(order), _ROWS_AT_ONCE):
        here = order[start : start + _ROWS_AT_ONCE]
        block: Vectors = np.empty((len(here), dimensions), np.float32)
        for number in np.unique(source[here]).tolist():
            chosen = source[here] == number
            rows = row[here][chosen]
            block[chosen] = merged[number - 1].take(rows) if number else new_vectors[rows]
        yield keys[here], cut[here], block


def _schema(dimensions: int) -> pa.Schema:
    vector = pa.list_(pa.field("item", pa.float32(), nullable=False), dimensions)
    fields = [("key", pa.binary(_KEY_BYTES)), ("cut", pa.bool_()), ("vector", vector)]
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in fields])


def _batch(keys: Keys, cut: Flags, vectors: Vectors) -> pa.RecordBatch:
    schema = _schema(vectors.shape[1])
    raw = pa.py_buffer(np.ascontiguousarray(keys).tobytes())
    key = pa.FixedSizeBinaryArray.from_buffers(schema.field("key").type, len(keys), [None, raw])
    vector = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), type=schema.field("vector").type)
    return pa.record_batch([key, pa.array(cut), vector], schema=schema)


def _keys(column: pa.Array) -> Keys:
    return np.frombuffer(column.buffers()[1], "S16", len(column), column.offset * _KEY_BYTES)


def _matrix(column: pa.Array, dimensions: int) -> Vectors:
    matrix: Vectors = column.flatten().to_numpy(zero_copy_only=True).reshape(-1, dimensions)
    return matrix
