"""Alpaca: instruction, input, output, system, history."""

from typing import Any

from steps.contracts.records import Row, message
from steps.engines.formats.columns import first, system_turn
from steps.engines.formats.format import Draft, Format, Parsed
from steps.engines.formats.messages import parsed, text_of_column
from steps.engines.formats.rejected import RowRejected
from steps.engines.formats.writing import expressible_meta, turns_of, with_meta

_OUTPUTS = ("output", "response", "completion")
_INPUTS = ("input", "context")


def read(row: Row) -> Parsed:
    """instruction, input, output, system, history ([[user, assistant], ...]).

    `input` follows the instruction after a blank line; where it starts is kept in meta as alpaca_input_at.
    """
    output = first(row, _OUTPUTS) or "output"
    used_input = first(row, _INPUTS) or "input"
    instruction, given = text_of_column(row, "instruction"), text_of_column(row, used_input, blank=True)
    answer = text_of_column(row, output)
    asked = f"{instruction}\n\n{given}" if given.strip() else instruction
    messages = [*system_turn(row), *_history(row), message("user", asked), message("assistant", answer)]
    meta = {"alpaca_input_at": len(instruction) + 2} if given.strip() else {}
    used = ("instruction", used_input, output, "system", "history")
    return Parsed([Draft("conversation", messages=messages, meta=meta)], used)


def _history(row: Row) -> list[Row]:
    out: list[Row] = []
    for pair in parsed(row.get("history"), "history") or []:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(p, str) for p in pair)):
            raise RowRejected("bad_history", "history must be a list of [user text, assistant text]")
        out += [message("user", pair[0]), message("assistant", pair[1])]
    return out


def write(row: Row) -> Row:
    """{"instruction", "input", "output"}, with "system" and "history" where there are any, and the columns of meta."""
    meta = expressible_meta(row)
    turns = turns_of(row)
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
    return with_meta(out, meta)


def _refuse_blank(turns: list[Row], system: str) -> None:
    blank = not turns[-1]["content"].strip() or not turns[-2]["content"].strip()
    if blank or (turns[0]["role"] == "system" and not system.strip()):
        raise RowRejected("turns_not_expressible", "Alpaca can't hold a blank system text, instruction or output")


def _split_input(asked: str, at: Any) -> tuple[str, str]:
    if isinstance(at, int) and asked[at - 2 : at] == "\n\n" and asked[: at - 2].strip() and asked[at:].strip():
        return asked[: at - 2], asked[at:]
    return asked, ""


ALPACA = Format(lambda row: "instruction" in row and first(row, _OUTPUTS) is not None, read, write)
