"""Sequences packed to a length: whole ones side by side, or one stream that is cut."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from steps.contracts.storage import aside
from steps.engines.template.render import IGNORED

if TYPE_CHECKING:
    import datasets

Packing = Literal["bfd", "wrapped"]
Int32s = npt.NDArray[np.int32]
PACKS_SCHEMA = pa.schema(
    [
        pa.field("input_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("labels", pa.list_(pa.int32()), nullable=False),
        # tokens of each sequence in the pack; in a stream of the whole pack
        pa.field("seq_lengths", pa.list_(pa.int32()), nullable=False),
    ]
)
# Written at once (chosen: some megabytes at 2,048 tokens).
_BATCH_PACKS = 64


@dataclass(frozen=True)
class Slice:
    """Tokens [start, stop) of a sequence, by its number."""

    sequence: int
    start: int
    stop: int


def best_fit_decreasing(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Numbers of the sequences in each bin of `size` tokens: the longest first, each where the least room is left.

    Raises:
        ValueError: a sequence is longer than a bin.
    """
    bins: list[list[int]] = []
    by_room: list[deque[int]] = [deque() for _ in range(size + 1)]
    # Bit r is set where there are bins with room r: the least room that is enough is the lowest bit above it.
    rooms = 0
    for number in sorted(range(len(lengths)), key=lambda n: (-lengths[n], n)):
        length = lengths[number]
        if not 0 < length <= size:
            raise ValueError(f"a sequence of {length} tokens doesn't fit into {size}")
        enough = rooms >> length
        if enough:
            room = length + (enough & -enough).bit_length() - 1
            at = by_room[room].popleft()
            if not by_room[room]:
                rooms &= ~(1 << room)
            bins[at].append(number)
        else:
            room, at = size, len(bins)
            bins.append([number])
        left = room - length
        if left:
            by_room[left].append(at)
            rooms |= 1 << left
    return bins


def stream(lengths: Sequence[int], size: int) -> Iterator[list[Slice]]:
    """The sequences one after the other, cut every `size` tokens; the last pack may be shorter."""
    pack: list[Slice] = []
    room = size
    for number, length in enumerate(lengths):
        start = 0
        while start < length:
            stop = min(length, start + room)
            pack.append(Slice(number, start, stop))
            room -= stop - start
            start = stop
            if room == 0:
                yield pack
                pack, room = [], size
    if pack:
        yield pack


def packed(rows: "datasets.Dataset", packing: Packing, size: int, path: Path) -> "datasets.Dataset":
    """Rows (input_ids, labels, length) as packs of at most `size` tokens, in an Arrow file.

    bfd: where a sequence begins nothing is trained, since nothing is before it. wrapped: what begins a document is
    predicted from what ends the one before.
    """
    import datasets

    rows = rows.flatten_indices()
    path.parent.mkdir(parents=True, exist_ok=True)
    lengths = np.asarray(rows["length"]).tolist()
    if packing == "bfd":
        bins = best_fit_decreasing(lengths, size)
        packs: Iterator[list[Slice]] = ([Slice(n, 0, lengths[n]) for n in one] for one in bins)
    else:
        packs = stream(lengths, size)
    ids, labels = (_Lists(rows.data.table[name]) for name in ("input_ids", "labels"))
    # Several processes that train together each write it, and map their own.
    with aside(path) as partial, pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_stream(sink, PACKS_SCHEMA) as out:
        for some in _batched(packs):
            out.write_batch(_record_batch(some, ids, labels, apart=packing == "bfd"))
    return datasets.Dataset.from_file(str(path))


class _Lists:
    """A column of lists, a part of a row at a time, without copies."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._chunks = [(c.offsets.to_numpy(), c.values.to_numpy()) for c in column.chunks]
        self._starts = np.cumsum([0, *(len(c) for c in column.chunks)])

    def __getitem__(self, wanted: Slice) -> Int32s:
        chunk = int(np.searchsorted(self._starts, wanted.sequence, side="right")) - 1
        offsets, values = self._chunks[chunk]
        first = offsets[wanted.sequence - self._starts[chunk]]
        found: Int32s = values[first + wanted.start : first + wanted.stop]
        return found


def _record_batch(packs: Sequence[Sequence[Slice]], ids: _Lists, labels: _Lists, *, apart: bool) -> pa.RecordBatch:
    of_ids = [np.concatenate([ids[s] for s in pack]) for pack in packs]
    of_labels = [np.concatenate([labels[s] for s in pack]) for pack in packs]
    lengths = [
        np.array([s.stop - s.start for s in pack] if apart else [len(whole)], np.int32)
        for pack, whole in zip(packs, of_ids, strict=True)
    ]
    for one, parts in zip(of_labels, lengths, strict=True):
        one[np.cumsum(parts) - parts] = IGNORED
    return pa.record_batch([_lists(column) for column in (of_ids, of_labels, lengths)], schema=PACKS_SCHEMA)


def _lists(parts: Sequence[Int32s]) -> pa.ListArray:
    offsets = np.cumsum([0, *map(len, parts)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(parts), pa.int32()))


def _batched(packs: Iterator[list[Slice]]) -> Iterator[list[list[Slice]]]:
    while some := list(islice(packs, _BATCH_PACKS)):
        yield some
