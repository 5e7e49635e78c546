"""Blocks of a file, and what of each the columnar path can read: records, and the items left to the careful path."""

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import pyarrow as pa

from steps.contracts.arrays import Mask, Numbers
from steps.contracts.records import SCHEMA, Row
from steps.ingest.columnar import kernel
from steps.ingest.columnar.columns import Column, Literal, Text, Turns, column_of, roles_of
from steps.ingest.columnar.json_text import Member, json_of, objects
from steps.ingest.columnar.records import Origin, lengths_of, meta_of, records_of
from steps.ingest.columnar.shapes import drafts_of
from steps.ingest.columnar.strings import Bytes, Strings, offsets
from steps.ingest.readers import Item, line_items, table_item
from steps.ingest.tables import batch_rows

# Chosen: longer rows are few, and their bytes would be held several times.
LONGEST_ROW = 1 << 20
# Of each set of columns in a block so many rows are read by the careful path too: the two must agree.
_CHECKED = 2
# Three bits of kind per column in a number of 64 bits.
MOST_COLUMNS = 21
# Chosen: lines shorter than this on average are no training rows, and their places would take more than they do.
_SHORTEST_LINE = 16
_NEWLINE = ord("\n")

# The record that the careful path makes of an item, where it makes one and nothing else.
Careful = Callable[[Item], Row | None]


@dataclass(frozen=True)
class Settings:
    """How the rows of a file are read.

    path, batch: as in the records. limit: bytes that a row may have. columns: names seen in the first rows.
    """

    path: str
    batch: int
    row_format: str
    meta_columns: tuple[str, ...] | None
    limit: int
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Done:
    """A block's items: those at `places` are the rows of `table`, with so many characters each.

    `careful` gives the others, each with its place; places rise. count: lines or rows of the block.
    """

    count: int
    table: pa.Table
    places: Numbers
    lengths: Numbers
    careful: Callable[[], Iterator[tuple[int, Item]]]


class Block(Protocol):
    """A piece of a file whose items depend on nothing outside of it."""

    def read(self, settings: Settings, careful: Careful) -> Done:
        """The items as records, as far as they are understood. In any thread."""
        ...


@dataclass(frozen=True)
class LineBlock:
    """Whole lines of JSON Lines; `first` is the number of the first one. The next block begins with an object.

    The first `skip` lines aren't asked for. mended: counts what the careful path puts right.
    """

    data: bytes
    first: int
    mended: Counter[str]
    skip: int = 0

    def read(self, settings: Settings, careful: Careful) -> Done:
        """The lines that are clean as records."""
        data = np.frombuffer(self.data, np.uint8)
        lines = int(np.count_nonzero(data == _NEWLINE)) + 1
        if lines * _SHORTEST_LINE > len(data) + _SHORTEST_LINE:
            ends = np.append(np.flatnonzero(data == _NEWLINE) + 1, len(data))
            return _done(lines, [], partial(self._left, settings.limit, ends))
        scan = _scanned(data, lines, settings.columns, min(LONGEST_ROW, settings.limit))
        clean = np.flatnonzero(scan.status == kernel.CLEAN)
        clean = clean[clean >= self.skip]
        # By kind of value per column; a string with escapes is of no other kind than one without.
        shown = np.where(scan.kinds == kernel.ESCAPED, kernel.PLAIN, scan.kinds).astype(np.int64)
        patterns = (shown << (3 * np.arange(shown.shape[1]))).sum(axis=1)
        groups = []
        for pattern in np.unique(patterns[clean]):
            rows = clean[patterns[clean] == pattern]
            origin = Origin(
                settings.path, settings.batch, "line:", self.first + rows, data, scan.starts[rows], scan.ends[rows]
            )
            columns = _line_columns(data, scan, rows, settings.columns)
            nothing = np.zeros(len(rows), bool)
            made = _group(columns, nothing, origin, settings, careful, partial(self._item, settings.limit, scan, rows))
            if made is not None:
                groups.append((rows[made.good], made))
        return _done(len(scan.status), groups, partial(self._left, settings.limit, scan.nexts))

    def _item(self, limit: int, scan: "_Scan", rows: Numbers, i: int) -> Item:
        here = self.data[scan.starts[rows[i]] : scan.nexts[rows[i]]]
        return next(line_items(_stream(here), limit, Counter(), self.first + int(rows[i])))

    def _left(self, limit: int, nexts: Numbers, left: Mask) -> Iterator[tuple[int, Item]]:
        """The items of lines that are left, run by run: an object may stand over several. nexts: behind each line."""
        left = left[: len(nexts)].copy()
        left[: self.skip] = False
        edges = np.flatnonzero(np.diff(np.concatenate(([0], left, [0]))))
        for first, last in edges.reshape(-1, 2).tolist():
            run = self.data[nexts[first - 1] if first else 0 : nexts[last - 1]]
            for item in line_items(_stream(run), limit, self.mended, self.first + first):
                yield first, item


def _stream(data: bytes) -> io.BufferedReader:
    return io.BufferedReader(io.BytesIO(data))  # type: ignore[arg-type]


@dataclass(frozen=True)
class ItemBlock:
    """Items that the careful path has read."""

    items: Sequence[Item]

    def read(self, settings: Settings, careful: Careful) -> Done:
        """The items, none of them as a record."""
        return _done(len(self.items), [], lambda left: enumerate(self.items))


@dataclass(frozen=True)
class RowBlock:
    """Rows of a Parquet file; `first` is the number of the first one."""

    batch: pa.RecordBatch
    first: int

    def read(self, settings: Settings, careful: Careful) -> Done:
        """The rows that are clean as records."""
        rows = self.batch.num_rows
        raw = _raw_rows(self.batch)
        if raw is None:
            return _done(rows, [], partial(self._left, settings.limit))
        columns, text, odd = raw
        odd = odd | (text.sizes > min(LONGEST_ROW, settings.limit))
        numbers = self.first + np.arange(rows)
        starts, ends = text.ends[:-1], text.ends[1:]
        ends = np.where(odd, starts, ends)
        origin = Origin(settings.path, settings.batch, "row:", numbers, text.data, starts, ends)
        made = _group(columns, odd, origin, settings, careful, partial(self._item, settings.limit))
        groups = [(np.flatnonzero(made.good), made)] if made else []
        return _done(rows, groups, partial(self._left, settings.limit))

    def _item(self, limit: int, place: int) -> Item:
        return table_item(next(batch_rows(self.batch.slice(place, 1), self.first + place - 1)), limit)

    def _left(self, limit: int, left: Mask) -> Iterator[tuple[int, Item]]:
        return ((place, self._item(limit, place)) for place in np.flatnonzero(left).tolist())


@dataclass(frozen=True)
class _Group:
    """Rows of one column set as records; `good` says which of them count."""

    table: pa.Table
    lengths: Numbers
    good: Mask


def _group(
    columns: Mapping[str, Column],
    odd: Mask,
    origin: Origin,
    settings: Settings,
    careful: Careful,
    item: Callable[[int], Item],
) -> _Group | None:
    """The rows as records; None where they aren't understood, or a row that is read both ways comes out unequal."""
    rows = len(odd)
    drafts = drafts_of(settings.row_format, columns, rows)
    if drafts is None:
        return None
    table = records_of(drafts, meta_of(drafts, columns, settings.meta_columns, rows), origin)
    good = ~(drafts.odd | odd)
    for i in np.flatnonzero(good)[:_CHECKED]:
        if careful(item(int(i))) != table.slice(int(i), 1).to_pylist()[0]:
            return None
    return _Group(table, lengths_of(drafts, rows), good)


def _done(
    count: int, groups: Sequence[tuple[Numbers, _Group]], rest: Callable[[Mask], Iterator[tuple[int, Item]]]
) -> Done:
    tables = [g.table if g.good.all() else g.table.filter(pa.array(g.good)) for _, g in groups]
    places = np.concatenate([np.zeros(0, np.int64), *(p for p, _ in groups)])
    lengths = np.concatenate([np.zeros(0, np.int64), *(g.lengths[g.good] for _, g in groups)])
    left = np.ones(count, bool)
    left[places] = False
    table = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
    return Done(count, table, places, lengths, partial(rest, left))


# --- Parquet ---


def _raw_rows(batch: pa.RecordBatch) -> tuple[dict[str, Column], Strings, Mask] | None:
    """The columns, each row's canonical JSON, and which rows are odd. None: a column is of an unknown type."""
    names, rows = batch.schema.names, batch.num_rows
    if len(set(names)) < len(names):
        return None
    odd, every = np.zeros(rows, bool), np.ones(rows, bool)
    columns: dict[str, Column] = {}
    members: list[Member] = []
    for name, stored in zip(names, batch.columns, strict=True):
        array = stored.dictionary_decode() if pa.types.is_dictionary(stored.type) else stored
        found = column_of(array)
        if found is None:
            return None
        column, strange = found
        odd |= strange
        if isinstance(column, Text) and not array.null_count:
            members.append(Member(name, column.values, every, quote=True))
        elif isinstance(column, Literal):
            members.append(Member(name, column.values, every))
        else:
            written = json_of(array)
            assert written is not None, "strings and lists of them have a JSON text"
            members.append(Member(name, written[0], every))
            odd |= written[1]
        columns[name] = column
    return columns, objects(members, rows), odd


# --- JSON Lines ---


@dataclass(frozen=True)
class _Scan:
    """What `kernel.scan_lines` says, one entry per line; kinds and values with one column per known name."""

    starts: Numbers
    ends: Numbers
    nexts: Numbers
    status: Bytes
    kinds: Bytes
    values: Numbers
    turns: Numbers


def _scanned(data: Bytes, lines: int, names: Sequence[str], longest: int) -> _Scan:
    keys = [f"{json.dumps(n)[1:]}".encode() for n in names]
    starts, ends, nexts = (np.empty(lines, np.int64) for _ in range(3))
    status = np.empty(lines, np.uint8)
    kinds, values = np.zeros((lines, len(names)), np.uint8), np.zeros((lines, len(names), 2), np.int64)
    turns = np.empty((len(data) // 24 + 1, 5), np.int64)
    count = kernel.scan_lines(
        data, np.frombuffer(b"".join(keys), np.uint8), offsets(np.array([len(k) for k in keys])), longest,
        starts, ends, nexts, status, kinds, values, turns,
    )  # fmt: skip
    return _Scan(starts[:count], ends[:count], nexts[:count], status[:count], kinds[:count], values[:count], turns)


def _line_columns(data: Bytes, scan: _Scan, rows: Numbers, names: Sequence[str]) -> dict[str, Column]:
    """The columns of lines that all have the same kinds of values; without nulls, which say nothing in a line."""
    out: dict[str, Column] = {}
    there = np.ones(len(rows), bool)
    for c, name in enumerate(names):
        kind = scan.kinds[rows[0], c]
        starts, ends = scan.values[rows, c, 0], scan.values[rows, c, 1]
        if kind in (kernel.PLAIN, kernel.ESCAPED):
            out[name] = Text(_texts(data, starts, ends, scan.kinds[rows, c] == kernel.ESCAPED), there)
        elif kind == kernel.LITERAL:
            out[name] = Literal(_texts(data, starts, ends, ~there), there)
        elif kind in (kernel.TURNS, kernel.SPOKEN):
            out[name] = _line_turns(data, scan.turns, starts, ends, spoken=kind == kernel.SPOKEN)
    return out


def _line_turns(data: Bytes, turns: Numbers, starts: Numbers, ends: Numbers, *, spoken: bool) -> Turns:
    sizes = ends - starts
    lists = offsets(sizes)
    chosen = turns[np.repeat(starts - lists[:-1], sizes) + np.arange(lists[-1])]
    roles = roles_of(data, chosen[:, 0], chosen[:, 1])
    return Turns(lists, roles, _texts(data, chosen[:, 2], chosen[:, 3], chosen[:, 4] > 0), spoken)


def _texts(data: Bytes, starts: Numbers, ends: Numbers, escaped: Mask) -> Strings:
    out, out_ends = np.empty(int((ends - starts).sum()) + 1, np.uint8), np.empty(len(starts) + 1, np.int64)
    kernel.unescaped(data, starts, ends, escaped, out, out_ends)
    return Strings(out, out_ends)
