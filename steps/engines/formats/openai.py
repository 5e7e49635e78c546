"""OpenAI: messages (role, content, tool_calls), tools, system."""

import json
from collections.abc import Sequence

from steps.contracts.records import Row
from steps.engines.formats.chat import conversation, first_turn
from steps.engines.formats.columns import COMPLETIONS, LISTS, first, given
from steps.engines.formats.format import Format, Parsed, Reading
from steps.engines.formats.preference import PREFERENCE
from steps.engines.formats.preference import read as read_preference
from steps.engines.formats.prompts import RowTexts, listed
from steps.engines.formats.rejected import RowRejected
from steps.engines.formats.writing import labelled, meta_of, turns_of, with_meta


def read(row: Row, how: Reading) -> Parsed:
    """A list of messages in any dialect, with the answer to it where that stands beside it, tools, system; with a
    rejected answer a preference.
    """
    if PREFERENCE.looks(row):
        return read_preference(row, how)
    texts = RowTexts(row, how)
    column = listed(row) or first(row, LISTS)
    if column is None:
        raise RowRejected("missing_column", "column 'messages' is missing")
    turns, answer = texts.begun(texts.turns(column)), given(row, COMPLETIONS)
    if answer is not None and turns.messages and turns.messages[-1]["role"] in ("user", "tool"):
        return conversation(texts, turns + texts.answered(answer), (column, answer))
    return conversation(texts, turns, (column,))


def write(row: Row) -> Row:
    """{"messages": [...], "tools": [...]} and the columns of meta; `reasoning_content` and `weight` on a message, and
    the row's `label`, where there are any. Of a preference `prompt`, `chosen` and `rejected`, each a list of messages.
    """
    meta = meta_of(row)
    meta.pop("think_tag", None)
    fields = {side: meta.pop(name, {}) for side, name in _FIELDS.items()}
    if row["kind"] == "preference":
        if row.get("score") is not None or row.get("label") is not None:
            raise RowRejected(
                "marks_not_expressible", "the row has a score, or a label that makes no unpaired preference"
            )
        sides = {"prompt": row["messages"], "chosen": row["chosen"], "rejected": row["rejected"]}
    else:
        sides = {"messages": turns_of(row)}
    out: Row = {name: _messages(turns, fields.get(name, fields["messages"])) for name, turns in sides.items()}
    if row["tools"]:
        out["tools"] = json.loads(row["tools"])
    return with_meta(labelled(out, row), meta)


# Where meta keeps what messages have beside a record's fields.
_FIELDS = {"messages": "message_fields", "chosen": "chosen_fields", "rejected": "rejected_fields"}


def _messages(turns: Sequence[Row], fields: Row) -> list[Row]:
    return [{**openai_message(m), **fields.get(str(i), {})} for i, m in enumerate(turns)]


def openai_message(m: Row) -> Row:
    """A message as OpenAI has it, with `reasoning_content` and `weight` where there are any."""
    out: Row = {"role": m["role"], "content": m["content"]}
    for key, field in (("name", "name"), ("reasoning", "reasoning_content"), ("weight", "weight")):
        if m.get(key) is not None:
            out[field] = m[key]
    if m["tool_calls"]:
        out["tool_calls"] = json.loads(m["tool_calls"])
    if m["role"] == "tool":
        out["tool_call_id"] = m["tool_call_id"]
    return out


OPENAI = Format(lambda row: "role" in (first_turn(row) or {}), read, write)
