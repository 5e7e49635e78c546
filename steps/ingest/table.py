"""Rows as an Arrow table, built column by column (about three times as fast as Table.from_pylist)."""

from collections.abc import Sequence
from itertools import accumulate

import pyarrow as pa

from steps.contracts.records import MESSAGE, SCHEMA, Row

_FIELDS = tuple(MESSAGE.field(i).name for i in range(MESSAGE.num_fields))
_MESSAGE_COLUMNS = frozenset(("messages", "chosen", "rejected"))


def rows_table(rows: Sequence[Row]) -> pa.Table:
    """The rows with SCHEMA; shape (len(rows), len(SCHEMA))."""
    arrays = [
        _message_lists([row[f.name] for row in rows], f.type)
        if f.name in _MESSAGE_COLUMNS
        else pa.array([row[f.name] for row in rows], f.type)
        for f in SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def _message_lists(lists: Sequence[Sequence[Row]], kind: pa.DataType) -> pa.Array:
    flat = [m for messages in lists for m in messages]
    columns = [pa.array([m[name] for m in flat], MESSAGE.field(name).type) for name in _FIELDS]
    offsets = pa.array([0, *accumulate(len(messages) for messages in lists)], pa.int32())
    values = pa.StructArray.from_arrays(columns, fields=[MESSAGE.field(name) for name in _FIELDS])
    return pa.ListArray.from_arrays(offsets, values, type=kind)
