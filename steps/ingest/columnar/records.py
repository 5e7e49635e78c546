"""Drafts of many rows to a table of records, with their ids."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from steps.contracts.arrays import Numbers
from steps.contracts.records import MESSAGE, ROLES, SCHEMA
from steps.ingest.columnar import kernel
from steps.ingest.columnar.columns import Column, Text, Turns
from steps.ingest.columnar.hashes import LANES, hashes
from steps.ingest.columnar.json_text import Member, objects
from steps.ingest.columnar.shapes import Drafts
from steps.ingest.columnar.strings import Bytes, Strings, fixed

_ROLES = Strings.from_texts(ROLES)
# Bytes that the canonical JSON of a turn and of a row has besides its texts, at most.
_PER_TURN, _PER_ROW = 48, 64
# "line:" or "row:", and the digits of a 63-bit number; with three sizes of 8 bytes ahead of a row's bytes.
_PLACE_BYTES = 5 + 19
_HEAD_BYTES = _PLACE_BYTES + 3 * 8


@dataclass(frozen=True)
class Origin:
    """Where n rows were read: the name of the file in `source`, its arrival batch, and per row its place and bytes.

    Row i's locator is `prefix` and numbers[i]; data[starts[i]:ends[i]] are the bytes that name it.
    """

    path: str
    batch: int
    prefix: str
    numbers: Numbers
    data: Bytes
    starts: Numbers
    ends: Numbers


def records_of(drafts: Drafts, meta: pa.Array, origin: Origin) -> pa.Table:
    """The records (SCHEMA). Those of odd rows are worthless."""
    rows = len(origin.numbers)
    ids, places = _row_ids(origin)
    document = drafts.kind == "document"
    text = drafts.texts.arrow() if document else pa.nulls(rows, pa.string())
    columns = {
        "record_id": ids,
        "content_id": _content_ids(drafts, rows),
        "kind": _same(drafts.kind, rows),
        "source": _same(origin.path, rows),
        "locator": places,
        "batch": pa.array(np.full(rows, origin.batch, np.int32)),
        **dict(zip(("messages", "chosen", "rejected"), _messages(drafts, rows), strict=True)),
        "text": text,
        "parents": _empty(rows, pa.string()),
        "meta": meta,
    }
    arrays = [columns.get(f.name, pa.nulls(0)) for f in SCHEMA]
    return pa.table(
        [a if len(a) == rows else pa.nulls(rows, f.type) for a, f in zip(arrays, SCHEMA, strict=True)], schema=SCHEMA
    )


def meta_of(drafts: Drafts, columns: Mapping[str, Column], wanted: tuple[str, ...] | None, rows: int) -> pa.Array:
    """The column `meta`: what belongs to no field, without nulls."""
    members = [Member(n, v.values, v.there) for n, v in drafts.meta.items()]
    for name, column in columns.items():
        if name in drafts.used or isinstance(column, Turns) or (wanted is not None and name not in wanted):
            continue
        if name not in drafts.meta:
            members.append(Member(name, column.values, column.there, isinstance(column, Text)))
    return objects(members, rows).arrow() if members else _same("{}", rows)


def lengths_of(drafts: Drafts, rows: int) -> Numbers:
    """Characters of each row's document or turns, shape (rows,)."""
    sizes = np.zeros(len(drafts.texts), np.int64)
    kernel.characters(drafts.texts.data, drafts.texts.ends, sizes)
    if drafts.kind == "document":
        return sizes
    before = np.concatenate(([0], np.cumsum(sizes)))
    return np.asarray(sum(before[ends[1:]] - before[ends[:-1]] for ends in drafts.lists))


def _row_ids(origin: Origin) -> tuple[pa.Array, pa.Array]:
    """record_id and locator of each row."""
    rows, sizes = len(origin.numbers), origin.ends - origin.starts
    source, prefix = (np.frombuffer(t.encode(), np.uint8) for t in (origin.path, origin.prefix))
    heads, head_ends = np.empty((len(source) + _HEAD_BYTES) * rows + 1, np.uint8), np.empty(rows + 1, np.int64)
    places, place_ends = np.empty(_PLACE_BYTES * rows + 1, np.uint8), np.empty(rows + 1, np.int64)
    kernel.put_heads(source, prefix, origin.numbers, sizes, heads, head_ends, places, place_ends)
    ids = _ids(Strings(heads, head_ends), origin.data, origin.starts, origin.ends)
    return ids, Strings(places, place_ends).arrow()


def _content_ids(drafts: Drafts, rows: int) -> pa.Array:
    quoted = np.zeros(len(drafts.texts), np.int64)
    kernel.quoted_sizes(drafts.texts.data, drafts.texts.ends, quoted)
    size = int(quoted.sum()) + _PER_TURN * len(quoted) + _PER_ROW * rows
    out, ends = np.empty(size + 1, np.uint8), np.empty(rows + 1, np.int64)
    kind = np.frombuffer(drafts.kind.encode(), np.uint8)
    kernel.put_contents(
        kind, drafts.lists, np.maximum(drafts.roles, 0), drafts.texts.data, drafts.texts.ends, _ROLES.data, _ROLES.ends,
        drafts.kind == "document", out, ends,
    )  # fmt: skip
    heads = np.diff(ends).astype("<i8").view(np.uint8)
    return _ids(Strings(heads, np.arange(0, 8 * rows + 1, 8)), out, ends[:-1], ends[1:])


def _ids(heads: Strings, data: Bytes, starts: Numbers, ends: Numbers) -> pa.Array:
    longest = int((heads.sizes + ends - starts).max(initial=0))
    words, ids = np.empty(LANES * (longest // 8 + 33), np.uint64), np.empty(32 * len(heads), np.uint8)
    hashes(heads.data, heads.ends, data, starts, ends, words, ids)
    return fixed(ids, 32)


def _messages(drafts: Drafts, rows: int) -> list[pa.Array]:
    if drafts.kind == "document":
        return [_empty(rows, MESSAGE)] * 3
    roles = pa.DictionaryArray.from_arrays(pa.array(np.maximum(drafts.roles, 0)), pa.array(ROLES)).cast(pa.string())
    texts = drafts.texts.arrow()
    given = {"role": roles, "content": texts}
    fields = list(MESSAGE)
    turns = pa.StructArray.from_arrays([given.get(f.name, pa.nulls(len(texts), f.type)) for f in fields], fields=fields)
    return [_list(ends, turns) for ends in drafts.lists]


def _list(ends: Numbers, values: pa.Array) -> pa.Array:
    first, last = int(ends[0]), int(ends[-1])
    kind = pa.list_(values.type)
    return pa.ListArray.from_arrays(pa.array((ends - first).astype(np.int32)), values.slice(first, last - first), kind)


def _empty(rows: int, kind: pa.DataType) -> pa.Array:
    zeros = pa.array(np.zeros(rows + 1, np.int32))
    return pa.ListArray.from_arrays(zeros, pa.array([], kind), pa.list_(kind))


def _same(text: str, rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(text, pa.string()), rows)
