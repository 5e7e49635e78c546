"""Alpaca: instruction, input, output, system, history."""

from typing import Any

from steps.contracts.records import Row
from steps.engines.formats.columns import OUTPUTS, first
from steps.engines.formats.format import Format
from steps.engines.formats.prompt_completion import read
from steps.engines.formats.prompts import INPUT_AT
from steps.engines.formats.rejected import RowRejected
from steps.engines.formats.writing import expressible_meta, labelled, sides_of, tagged_turns, with_meta


def write(row: Row) -> Row:
    """{"instruction", "input", "output"}, with "system" and "history" where there are any, and the columns of meta.

    Of a preference `chosen` and `rejected` stand in the place of `output`.
    """
    if row["kind"] == "preference":
        out, other = sides_of(row, write)
        answer = out.pop("output")
        return {**out, "chosen": answer, "rejected": other["output"]}
    meta = expressible_meta(row)
    turns = tagged_turns(row, meta)
    if row["tools"] or any(m["tool_calls"] or m["role"] == "tool" for m in turns):
        raise RowRejected("tools_not_expressible", "the row has tools or tool calls, for which Alpaca has no place")
    if any(m.get("weight") is not None for m in turns):
        raise RowRejected("marks_not_expressible", "a message has a weight, for which Alpaca has no place")
    if any(m["name"] is not None for m in turns):
        raise RowRejected("name_not_expressible", "a message has a name, for which Alpaca has no place")
    system = turns[0]["content"] if turns[0]["role"] == "system" else ""
    spoken = turns[1:] if turns[0]["role"] == "system" else turns
    if [m["role"] for m in spoken] != ["user", "assistant"] * (len(spoken) // 2):
        raise RowRejected("turns_not_expressible", "Alpaca needs user and assistant in turn, the assistant last")
    _refuse_blank(turns, system)
    *history, asked, answer = (m["content"] for m in spoken)
    instruction, given = _split_input(asked, meta.pop(INPUT_AT, None))
    out = {"instruction": instruction, "input": given, "output": answer}
    if system:
        out["system"] = system
    if history:
        out["history"] = [list(pair) for pair in zip(history[::2], history[1::2], strict=True)]
    return with_meta(labelled(out, row), meta)


def _refuse_blank(turns: list[Row], system: str) -> None:
    blank = not turns[-1]["content"].strip() or not turns[-2]["content"].strip()
    if blank or (turns[0]["role"] == "system" and not system.strip()):
        raise RowRejected("turns_not_expressible", "Alpaca can't hold a blank system text, instruction or output")


def _split_input(asked: str, at: Any) -> tuple[str, str]:
    if isinstance(at, int) and asked[at - 2 : at] == "\n\n" and asked[: at - 2].strip() and asked[at:].strip():
        return asked[: at - 2], asked[at:]
    return asked, ""


ALPACA = Format(lambda row: "instruction" in row and first(row, OUTPUTS) is not None, read, write)
