"""ShareGPT: conversations (from, value), system, tools."""

import json

from steps.contracts.records import Row
from steps.engines.formats.chat import first_turn
from steps.engines.formats.dialects.roles import ROLE_KEYS, has_role
from steps.engines.formats.format import Format
from steps.engines.formats.openai import read
from steps.engines.formats.rejected import RowRejected
from steps.engines.formats.writing import expressible_meta, labelled, sides_of, tagged_turns, with_meta

_SPEAKER = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}


def write(row: Row) -> Row:
    """{"conversations": [{"from", "value"}], "tools": "<JSON text>"} and the columns of meta.

    Of a preference the prompt, with {"from", "value"} as `chosen` and `rejected`.

    Ids of tool calls are written only where they aren't what reading would number them.
    """
    if row["kind"] == "preference":
        out, other = sides_of(row, write)
        *prompt, chosen = out["conversations"]
        return {**out, "conversations": prompt, "chosen": chosen, "rejected": other["conversations"][-1]}
    meta = expressible_meta(row)
    numbers = _Numbers()
    out = {"conversations": [_sharegpt(m, numbers) for m in tagged_turns(row, meta)]}
    if row["tools"]:
        out["tools"] = row["tools"]
    return with_meta(labelled(out, row), meta)


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
        return _weighted({"from": "function_call", "value": json.dumps(value, ensure_ascii=False)}, m)
    out: Row = {"from": _SPEAKER[m["role"]], "value": m["content"]}
    if m["role"] == "tool" and not numbers.next_answer(m["tool_call_id"]):
        out["tool_call_id"] = m["tool_call_id"]
    return _weighted(out, m)


def _weighted(out: Row, m: Row) -> Row:
    return out if m.get("weight") is None else {**out, "weight": m["weight"]}


def _sharegpt_call(call: Row, numbers: _Numbers) -> Row:
    text = call["function"]["arguments"]
    value = json.loads(text)
    same = json.dumps(value, ensure_ascii=False) == text
    out: Row = {"name": call["function"]["name"], "arguments": value if same else text}
    if not numbers.next_call(call["id"]):
        out["id"] = call["id"]
    return out


def _looks(row: Row) -> bool:
    first = first_turn(row) or {}
    return any(k in first for k in ROLE_KEYS if k != "type") or has_role(first)


SHAREGPT = Format(_looks, read, write)
