"""ShareGPT: conversations (from, value), system, tools."""

import json

from steps.contracts.records import Row
from steps.engines.formats.chat import conversation, first_turn
from steps.engines.formats.columns import first
from steps.engines.formats.format import Format, Parsed
from steps.engines.formats.messages import sharegpt_messages
from steps.engines.formats.rejected import RowRejected
from steps.engines.formats.writing import expressible_meta, turns_of, with_meta

_SPEAKER = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}


def read(row: Row) -> Parsed:
    """conversations (from, value), system, tools."""
    column = first(row, ("conversations", "conversation", "messages"))
    if column is None:
        raise RowRejected("missing_column", "column 'conversations' is missing")
    messages, extra = sharegpt_messages(row[column], column)
    return conversation(row, messages, extra, column)


def write(row: Row) -> Row:
    """{"conversations": [{"from", "value"}], "tools": "<JSON text>"} and the columns of meta.

    Ids of tool calls are written only where they aren't what reading would number them.
    """
    meta = expressible_meta(row)
    numbers = _Numbers()
    out: Row = {"conversations": [_sharegpt(m, numbers) for m in turns_of(row)]}
    if row["tools"]:
        out["tools"] = row["tools"]
    return with_meta(out, meta)


class _Numbers:
    """The ids that reading would give: calls are numbered from 1, answers go to the first open call."""

    def __init__(self) -> None:
        self.count = 0
        self.open: list[str] = []

    def next_call(self, call_id: str) -> bool:
        """Whether reading would give this call the same id."""
        self.count += 1
        self.open.append(call_id)
        return call_id == f"call_{self.count}"

    def next_answer(self, call_id: str | None) -> bool:
        """Whether reading would let this answer go to the same call."""
        same = call_id == (self.open[0] if self.open else None)
        if call_id in self.open:
            self.open.remove(call_id)
        return same


def _sharegpt(m: Row, numbers: _Numbers) -> Row:
    if m["name"] is not None:
        raise RowRejected("name_not_expressible", "a message has a name, for which ShareGPT has no place")
    if m["tool_calls"]:
        if m["content"]:
            raise RowRejected("text_with_tool_call", "a message has text beside its tool calls")
        calls = [_sharegpt_call(c, numbers) for c in json.loads(m["tool_calls"])]
        value = calls[0] if len(calls) == 1 else calls
        return {"from": "function_call", "value": json.dumps(value, ensure_ascii=False)}
    out: Row = {"from": _SPEAKER[m["role"]], "value": m["content"]}
    if m["role"] == "tool" and not numbers.next_answer(m["tool_call_id"]):
        out["tool_call_id"] = m["tool_call_id"]
    return out


def _sharegpt_call(call: Row, numbers: _Numbers) -> Row:
    text = call["function"]["arguments"]
    value = json.loads(text)
    same = json.dumps(value, ensure_ascii=False) == text
    out: Row = {"name": call["function"]["name"], "arguments": value if same else text}
    if not numbers.next_call(call["id"]):
        out["id"] = call["id"]
    return out


SHAREGPT = Format(lambda row: "from" in (first_turn(row) or {}), read, write)
