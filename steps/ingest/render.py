"""Records as rows of the OpenAI, Alpaca and ShareGPT formats. What a format can't express is refused, never dropped.

Reading the output with ingest gives the same record content.
"""

import json
from collections.abc import Callable
from typing import Any

from steps.contracts.records import Row
from steps.ingest.rejects import RowRejected

_SPEAKER = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}


def to_openai(row: Row) -> Row:
    """{"messages": [...], "tools": [...]} and the columns of meta."""
    meta = _meta(row)
    extra = meta.pop("message_fields", {})
    out: Row = {"messages": [{**_openai(m), **extra.get(str(i), {})} for i, m in enumerate(_turns(row))]}
    if row["tools"]:
        out["tools"] = json.loads(row["tools"])
    return _with_meta(out, meta)


def _openai(m: Row) -> Row:
    out: Row = {"role": m["role"], "content": m["content"]}
    if m["name"] is not None:
        out["name"] = m["name"]
    if m["tool_calls"]:
        out["tool_calls"] = json.loads(m["tool_calls"])
    if m["role"] == "tool":
        out["tool_call_id"] = m["tool_call_id"]
    return out


def to_sharegpt(row: Row) -> Row:
    """{"conversations": [{"from", "value"}], "tools": "<JSON text>"} and the columns of meta.

    Ids of tool calls are written only where they aren't what reading would number them.
    """
    meta = _expressible_meta(row)
    numbers = _Numbers()
    out: Row = {"conversations": [_sharegpt(m, numbers) for m in _turns(row)]}
    if row["tools"]:
        out["tools"] = row["tools"]
    return _with_meta(out, meta)


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


def to_alpaca(row: Row) -> Row:
    """{"instruction", "input", "output"}, with "system" and "history" where there are any, and the columns of meta."""
    meta = _expressible_meta(row)
    turns = _turns(row)
    if row["tools"] or any(m["tool_calls"] or m["role"] == "tool" for m in turns):
        raise RowRejected("tools_not_expressible", "the row has tools or tool calls, for which Alpaca has no place")
    if any(m["name"] is not None for m in turns):
        raise RowRejected("name_not_expressible", "a message has a name, for which Alpaca has no place")
    system = turns[0]["content"] if turns[0]["role"] == "system" else ""
    spoken = turns[1:] if turns[0]["role"] == "system" else turns
    if [m["role"] for m in spoken] != ["user", "assistant"] * (len(spoken) // 2):
        raise RowRejected("turns_not_expressible", "Alpaca needs user and assistant in turn, the assistant last")
    _refuse_blank(turns, system)
    *history, asked, answer = (m["content"] for m in spoken)
    instruction, given = _split_input(asked, meta.pop("alpaca_input_at", None))
    out: Row = {"instruction": instruction, "input": given, "output": answer}
    if system:
        out["system"] = system
    if history:
        out["history"] = [list(pair) for pair in zip(history[::2], history[1::2], strict=True)]
    return _with_meta(out, meta)


def _refuse_blank(turns: list[Row], system: str) -> None:
    blank = not turns[-1]["content"].strip() or not turns[-2]["content"].strip()
    if blank or (turns[0]["role"] == "system" and not system.strip()):
        raise RowRejected("turns_not_expressible", "Alpaca can't hold a blank system text, instruction or output")


def _split_input(asked: str, at: Any) -> tuple[str, str]:
    if isinstance(at, int) and asked[at - 2 : at] == "\n\n" and asked[: at - 2].strip() and asked[at:].strip():
        return asked[: at - 2], asked[at:]
    return asked, ""


def _turns(row: Row) -> list[Row]:
    if row["kind"] != "conversation":
        raise RowRejected(f"{row['kind']}_not_expressible", f"a {row['kind']} has no place in a chat format")
    return list(row["messages"])


def _meta(row: Row) -> Row:
    return dict(json.loads(row["meta"]))


def _expressible_meta(row: Row) -> Row:
    meta = _meta(row)
    if "message_fields" in meta:
        keys = sorted({k for fields in meta["message_fields"].values() for k in fields})
        raise RowRejected("fields_not_expressible", f"messages have other keys: {', '.join(k[:40] for k in keys)}")
    return meta


# Columns that a reader would take for the row's content, were they copied from meta.
_CONTENT = ("messages", "conversations", "conversation", "tools", "functions", "system", "history")


def _with_meta(out: Row, meta: Row) -> Row:
    clash = sorted(k for k in meta if k in out or k in _CONTENT)
    if clash:
        raise RowRejected("column_clash", f"columns have the names of the format: {', '.join(c[:40] for c in clash)}")
    return {**out, **meta}


RENDER: dict[str, Callable[[Row], Row]] = {"openai": to_openai, "alpaca": to_alpaca, "sharegpt": to_sharegpt}
