"""OpenAI: messages (role, content, tool_calls), tools, system."""

import json

from steps.contracts.records import Row
from steps.engines.formats.chat import LISTS, conversation, first_turn
from steps.engines.formats.columns import first
from steps.engines.formats.format import Format, Parsed
from steps.engines.formats.messages import openai_messages
from steps.engines.formats.rejected import RowRejected
from steps.engines.formats.writing import meta_of, turns_of, with_meta


def read(row: Row) -> Parsed:
    """messages (role, content, tool_calls), tools, system."""
    column = first(row, LISTS)
    if column is None:
        raise RowRejected("missing_column", "column 'messages' is missing")
    messages, extra = openai_messages(row[column], column)
    return conversation(row, messages, extra, column)


def write(row: Row) -> Row:
    """{"messages": [...], "tools": [...]} and the columns of meta."""
    meta = meta_of(row)
    extra = meta.pop("message_fields", {})
    out: Row = {"messages": [{**_openai(m), **extra.get(str(i), {})} for i, m in enumerate(turns_of(row))]}
    if row["tools"]:
        out["tools"] = json.loads(row["tools"])
    return with_meta(out, meta)


def _openai(m: Row) -> Row:
    out: Row = {"role": m["role"], "content": m["content"]}
    if m["name"] is not None:
        out["name"] = m["name"]
    if m["tool_calls"]:
        out["tool_calls"] = json.loads(m["tool_calls"])
    if m["role"] == "tool":
        out["tool_call_id"] = m["tool_call_id"]
    return out


OPENAI = Format(lambda row: "role" in (first_turn(row) or {}), read, write)
