"""What the writers of chat formats share. What a format can't express is refused, never dropped."""

import json
from collections.abc import Callable

from steps.contracts.records import Row
from steps.contracts.thinking import THINK_TAG, split, with_tags
from steps.engines.formats.columns import LISTS, RESPONSES
from steps.engines.formats.dialects.content import MEDIA_COLUMNS
from steps.engines.formats.marks import LABELS, REASONING, label_of
from steps.engines.formats.preference import CHOSEN, REJECTED
from steps.engines.formats.rejected import RowRejected


def turns_of(row: Row) -> list[Row]:
    """The messages of a conversation that says nothing for which chat formats have no place."""
    if row["kind"] not in ("conversation", "unpaired_preference"):
        raise RowRejected(f"{row['kind']}_not_expressible", f"a {row['kind']} has no place in a chat format")
    if row.get("score") is not None or (row["kind"] == "conversation" and row.get("label") is not None):
        raise RowRejected("marks_not_expressible", "the row has a score, or a label that makes no unpaired preference")
    return list(row["messages"])


def sides_of(row: Row, write: Callable[[Row], Row]) -> tuple[Row, Row]:
    """A preference's prompt with its chosen and with its rejected answer, each written as a conversation."""
    if len(row["chosen"]) != 1 or len(row["rejected"]) != 1:
        raise RowRejected("turns_not_expressible", "a side of the preference has several turns")
    chosen, rejected = (
        write({**row, "kind": "conversation", "messages": [*row["messages"], *row[side]], "chosen": [], "rejected": []})
        for side in ("chosen", "rejected")
    )
    return chosen, rejected


def tagged_turns(row: Row, meta: Row) -> list[Row]:
    """The same for a format without a place for reasoning: it stands in think tags before the answer."""
    turns = turns_of(row)
    tag = meta.pop(THINK_TAG, "think")
    tagged = with_tags(turns, tag)
    for before, after in zip(turns, tagged, strict=True):
        if before.get("reasoning") is not None:
            back = (tag, before["reasoning"], before["content"])
            if before["tool_calls"] or before["role"] != "assistant" or split(after["content"]) != back:
                raise RowRejected("marks_not_expressible", "reasoning that can't be read back from think tags")
    return tagged


def labelled(out: Row, row: Row) -> Row:
    """The row with its label, where it is an unpaired preference."""
    return out if row.get("label") is None else {**out, "label": row["label"]}


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
_CONTENT = frozenset(
    {*LISTS, *RESPONSES, *CHOSEN, *REJECTED, *REASONING, *MEDIA_COLUMNS, "tools", "functions", "system", "history"}
)


def with_meta(out: Row, meta: Row) -> Row:
    """The row with the columns of meta beside its own."""
    clash = sorted(k for k in meta if k in out or k in _CONTENT or (k in LABELS and _is_label(k, meta[k])))
    if clash:
        raise RowRejected("column_clash", f"columns have the names of the format: {', '.join(c[:40] for c in clash)}")
    return {**out, **meta}


def _is_label(column: str, value: object) -> bool:
    try:
        return label_of({column: value})[0] is not None
    except RowRejected:
        return True
