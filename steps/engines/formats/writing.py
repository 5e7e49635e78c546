"""What the writers of chat formats share. What a format can't express is refused, never dropped."""

import json

from steps.contracts.records import Row
from steps.engines.formats.rejected import RowRejected


def turns_of(row: Row) -> list[Row]:
    """The messages of a conversation that says nothing for which chat formats have no place."""
    if row["kind"] != "conversation":
        raise RowRejected(f"{row['kind']}_not_expressible", f"a {row['kind']} has no place in a chat format")
    marks = [row.get("label"), row.get("score"), *(m.get(k) for m in row["messages"] for k in ("weight", "reasoning"))]
    if any(mark is not None for mark in marks):
        raise RowRejected("marks_not_expressible", "the row has a label, a score, weights or reasoning")
    return list(row["messages"])


def meta_of(row: Row) -> Row:
    """Columns that belong to no field of a record."""
    return dict(json.loads(row["meta"]))


def expressible_meta(row: Row) -> Row:
    """The same, for a format whose messages have no further keys."""
    meta = meta_of(row)
    if "message_fields" in meta:
        keys = sorted({k for fields in meta["message_fields"].values() for k in fields})
        raise RowRejected("fields_not_expressible", f"messages have other keys: {', '.join(k[:40] for k in keys)}")
    return meta


# Columns that a reader would take for the row's content, were they copied from meta.
_CONTENT = ("messages", "conversations", "conversation", "tools", "functions", "system", "history")


def with_meta(out: Row, meta: Row) -> Row:
    """The row with the columns of meta beside its own."""
    clash = sorted(k for k in meta if k in out or k in _CONTENT)
    if clash:
        raise RowRejected("column_clash", f"columns have the names of the format: {', '.join(c[:40] for c in clash)}")
    return {**out, **meta}
