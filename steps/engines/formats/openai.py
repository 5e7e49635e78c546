"""OpenAI: messages (role, content, tool_calls), tools, system."""

import json

from steps.contracts.records import Row
from steps.engines.formats.chat import conversation, first_turn
from steps.engines.formats.columns import LISTS, first
from steps.engines.formats.format import Format, Parsed, Reading
from steps.engines.formats.preference import PREFERENCE
from steps.engines.formats.preference import read as read_preference
from steps.engines.formats.prompts import RowTexts, listed
from steps.engines.formats.rejected import RowRejected
from steps.engines.formats.writing import labelled, meta_of, turns_of, with_meta


def read(row: Row, how: Reading) -> Parsed:
    """A list of messages in any dialect, tools, system; with a rejected answer beside it a preference."""
    if PREFERENCE.looks(row):
        return read_preference(row, how)
    texts = RowTexts(row, how)
    column = listed(row) or first(row, LISTS)
    if column is None:
        raise RowRejected("missing_column", "column 'messages' is missing")
    return conversation(texts, texts.system() + texts.turns(column), (column,))


def write(row: Row) -> Row:
    """{"messages": [...], "tools": [...]} and the columns of meta; `reasoning_content` and `weight` on a message, and
    the row's `label`, where there are any.
    """
    meta = meta_of(row)
    extra = meta.pop("message_fields", {})
    meta.pop("think_tag", None)
    out: Row = {"messages": [{**openai_message(m), **extra.get(str(i), {})} for i, m in enumerate(turns_of(row))]}
    if row["tools"]:
        out["tools"] = json.loads(row["tools"])
    return with_meta(labelled(out, row), meta)


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
