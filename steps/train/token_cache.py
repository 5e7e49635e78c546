"""Tokens of rows, cached between runs: a row that was encoded once, by the same tokenizer and template, costs a copy.

A file holds the rows of the last run that wrote it and no others, so that what left the data leaves the cache. It is
only ever read whole: its manifest, beside it, names its SHA-256. One that is missing, damaged or of another origin is
as none.
"""

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from steps.contracts.digests import file_digest, value_digest
from steps.contracts.execution import Executor, Inline
from steps.contracts.row_cache import row_keys
from steps.contracts.storage import aside, write_whole
from steps.engines.template.labelled import Labelled
from steps.engines.template.lint import Linted
from steps.engines.template.render import IGNORED

Int32s = npt.NDArray[np.int32]
# 16 bytes each, shape (rows,).
Keys = npt.NDArray[np.bytes_]

_LISTS = ("lengths", "input_ids", "runs")
_SCHEMA = pa.schema(
    [
        ("key", pa.binary(16)),
        # JSON of what is said of the row.
        ("said", pa.string()),
        # tokens of each sequence
        ("lengths", pa.list_(pa.int32())),
        # of all sequences, one after the other
        ("input_ids", pa.list_(pa.int32())),
        # where runs of trained tokens begin and end in these
        ("runs", pa.list_(pa.int32())),
    ]
)
# Chosen: batches whose columns are at hand; rows come much in the order in which they were written.
_OPEN_BATCHES = 64


@dataclass(frozen=True)
class Means:
    """Where rows become tokens, and where those are kept for the next run. Neither decides about a token.

    Attributes:
        cache: a folder for files of this module; None: nothing is kept.
        code: what changes with the code; tokens of other code aren't used.
    """

    executor: Executor = field(default_factory=Inline)
    cache: Path | None = None
    code: str = ""


@dataclass
class CachedTokens:
    """The tokens that an earlier run kept, and those that this one keeps.

    Attributes:
        keep: takes a batch's keys and what was found of its rows.
        reused: rows that were found so far.
    """

    earlier: "_Earlier | None"
    keep: Callable[[Keys, Sequence[Linted]], None]
    reused: int = 0

    def find(self, keys: Keys) -> list[Linted | None]:
        """What is known of each row."""
        if self.earlier is None:
            return [None] * len(keys)
        found = [None if place < 0 else self.earlier.at(place) for place in self.earlier.places(keys)]
        self.reused += sum(f is not None for f in found)
        return found


@contextmanager
def cached_tokens(means: Means, name: str, origin: Any) -> Iterator[CachedTokens]:
    """The cache called `name`; its file is written anew when the block ends well.

    Args:
        origin: what decides over a row's tokens besides the row, as JSON values.
    """
    if means.cache is None:
        yield CachedTokens(None, lambda keys, linted: None)
        return
    file, digest = means.cache / f"{name}.arrow", value_digest([means.code, origin])
    with aside(file) as partial:
        with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as out:
            yield CachedTokens(_opened(file, digest), lambda keys, linted: out.write_batch(_batch(keys, linted)))
        manifest = {"origin": digest, "sha256": file_digest(partial)}
    write_whole(file.with_suffix(".json"), json.dumps(manifest))


def keys_of(table: pa.Table) -> Keys:
    """A key per row, from all that its tokens depend on: what it says, and how its reasoning stood (in meta)."""
    keys = row_keys(table, ("meta",)).astype(">u8")
    return np.ascontiguousarray(keys).view("S16").reshape(-1)


def _opened(file: Path, origin: str) -> "_Earlier | None":
    try:
        manifest = json.loads(file.with_suffix(".json").read_bytes())
        if manifest["origin"] != origin or manifest["sha256"] != file_digest(file):
            return None
        return _Earlier(file)
    except (OSError, ValueError, KeyError, TypeError):  # Arrow's errors are ValueErrors
        return None


class _Earlier:
    """A file of an earlier run, mapped into memory."""

    def __init__(self, file: Path) -> None:
        reader = pa.ipc.open_file(pa.memory_map(str(file)))
        self._batches = [reader.get_batch(n) for n in range(reader.num_record_batches)]
        self._starts = list(accumulate((len(b) for b in self._batches), initial=0))
        raw = b"".join(_key_bytes(b.column("key")) for b in self._batches)
        keys = np.frombuffer(raw, "S16")
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]
        self._columns = lru_cache(_OPEN_BATCHES)(self._columns_of)

    def places(self, keys: Keys) -> list[int]:
        """The place of each row in the file, -1 where it isn't there."""
        if not len(self._sorted):
            return [-1] * len(keys)
        at = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        return [int(n) for n in np.where(self._sorted[at] == keys, self._order[at], -1)]

    def at(self, place: int) -> Linted:
        """What was found of the row at a place."""
        batch = bisect_right(self._starts, place) - 1
        said, lists = self._columns(batch)
        n = place - self._starts[batch]
        lengths, ids, runs = (values[offsets[n] : offsets[n + 1]] for offsets, values in lists)
        return _linted(said[n], lengths.tolist(), ids, runs.tolist())

    def _columns_of(self, number: int) -> tuple[list[str], list[tuple[Int32s, Int32s]]]:
        batch = self._batches[number]
        lists = [(batch.column(n).offsets.to_numpy(), batch.column(n).values.to_numpy()) for n in _LISTS]
        return batch.column("said").to_pylist(), lists


def _key_bytes(keys: pa.Array) -> bytes:
    return bytes(keys.buffers()[1])[16 * keys.offset : 16 * (keys.offset + len(keys))]


def _linted(said: str, lengths: Sequence[int], ids: Int32s, runs: Sequence[int]) -> Linted:
    trained = np.zeros(len(ids), bool)
    for start, stop in zip(runs[::2], runs[1::2], strict=True):
        trained[start:stop] = True
    labels = np.where(trained, ids, np.int32(IGNORED))
    parts = (slice(a, b) for a, b in pairwise(accumulate(lengths, initial=0)))
    sequences = tuple(Labelled(ids[p], labels[p], int(trained[p].sum())) for p in parts)
    reason, detail, merged, left_out, ends = json.loads(said)
    return Linted(sequences, reason, detail, merged, Counter(left_out), frozenset(ends))


def _batch(keys: Keys, linted: Sequence[Linted]) -> pa.RecordBatch:
    lengths = [[len(s.input_ids) for s in row.sequences] for row in linted]
    ids = [_joined([s.input_ids for s in row.sequences]) for row in linted]
    runs = [_runs(_joined([s.labels for s in row.sequences]) != IGNORED) for row in linted]
    raw = pa.py_buffer(keys.tobytes())
    columns = [
        pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(keys), [None, raw]),
        pa.array([_said(row) for row in linted], pa.string()),
        *(pa.array(values, pa.list_(pa.int32())) for values in (lengths, ids, runs)),
    ]
    return pa.record_batch(columns, schema=_SCHEMA)


def _joined(arrays: Sequence[Int32s]) -> Int32s:
    return np.concatenate(arrays) if arrays else np.empty(0, np.int32)


def _runs(trained: npt.NDArray[np.bool_]) -> Int32s:
    """Where runs of True begin and end, in turn."""
    return np.flatnonzero(np.diff(trained, prepend=False, append=False)).astype(np.int32)


def _said(row: Linted) -> str:
    return json.dumps([row.reason, row.detail, row.boundary_merged, row.left_out, sorted(row.ends)])
