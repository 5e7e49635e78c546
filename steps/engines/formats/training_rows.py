"""Records as the rows that training libraries read (TRL's dataset types), of one form per kind.

conversations  messages, tools
preferences    prompt, chosen, rejected, tools: lists of messages
judged         prompt, completion, label, tools: one answer that was wanted or not (KTO)
documents      text

Messages are OpenAI's, with `weight` and `reasoning_content` where a record has them; arguments of calls are JSON text.
"""

import json
from collections.abc import Sequence
from typing import Literal, TypeAlias

from steps.contracts.records import Row
from steps.engines.formats.rejected import RowRejected

Form: TypeAlias = Literal["conversations", "preferences", "judged", "documents"]
FORMS: tuple[Form, ...] = ("conversations", "preferences", "judged", "documents")


def form_of(row: Row) -> Form:
    """The form that a record takes."""
    if row["kind"] == "document":
        return "documents"
    if row["kind"] == "preference":
        return "preferences"
    return "conversations" if row["label"] is None else "judged"


def training_row(row: Row) -> Row:
    """The record in its form, `tools` as the list that they are.

    Raises:
        RowRejected: the record has a score, or is judged by an answer that isn't its last turn.
    """
    if row["score"] is not None:
        raise RowRejected("score_not_expressible", "the row has a score, for which training rows have no place")
    form = form_of(row)
    if form == "documents":
        return {"text": row["text"]}
    if form == "conversations":
        out: Row = {"messages": openai_list(row["messages"])}
    elif form == "preferences":
        out = {"prompt": row["messages"], "chosen": row["chosen"], "rejected": row["rejected"]}
        out = {name: openai_list(side) for name, side in out.items()}
    else:
        prompt, completion = _answered(row["messages"])
        out = {"prompt": openai_list(prompt), "completion": openai_list(completion), "label": row["label"]}
    return {**out, "tools": json.loads(row["tools"])} if row["tools"] else out


def _answered(messages: Sequence[Row]) -> tuple[Sequence[Row], Sequence[Row]]:
    """What was asked, and the answer: the turns behind the last one of a user."""
    start = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=-1) + 1
    if not start or start == len(messages):
        raise RowRejected("turns_not_expressible", "a judged row needs a user's turn and an answer behind it")
    return messages[:start], messages[start:]


def openai_list(messages: Sequence[Row]) -> list[Row]:
    """Messages as OpenAI has them."""
    return [_openai(m) for m in messages]


def _openai(m: Row) -> Row:
    out: Row = {"role": m["role"], "content": m["content"]}
    if m["name"] is not None:
        out["name"] = m["name"]
    if m["reasoning"] is not None:
        out["reasoning_content"] = m["reasoning"]
    if m["tool_calls"]:
        out["tool_calls"] = json.loads(m["tool_calls"])
    if m["role"] == "tool":
        out["tool_call_id"] = m["tool_call_id"]
    if m["weight"] is not None:
        out["weight"] = m["weight"]
    return out
