"""Records as the rows that training libraries read (TRL's dataset types), of one form per kind.

conversations  messages, tools
preferences    prompt, chosen, rejected, tools: lists of messages
unpaired       prompt, completion, label, tools: an answer that is wanted or not (KTO)
documents      text

Messages are OpenAI's, with `weight` and `reasoning_content` where a record has them; arguments of calls are JSON text.
"""

import json
from collections.abc import Sequence
from typing import Literal, TypeAlias

from steps.contracts.records import Row
from steps.engines.formats.openai import openai_message
from steps.engines.formats.rejected import RowRejected

Form: TypeAlias = Literal["conversations", "preferences", "unpaired", "documents"]
FORMS: tuple[Form, ...] = ("conversations", "preferences", "unpaired", "documents")


_FORM_OF: dict[str, Form] = {
    "conversation": "conversations", "preference": "preferences", "unpaired_preference": "unpaired",
    "document": "documents",
}  # fmt: skip


def form_of(row: Row) -> Form:
    """The form that a record takes."""
    return _FORM_OF[row["kind"]]


def training_row(row: Row) -> Row:
    """The record in its form, `tools` as the list that they are.

    Raises:
        RowRejected: the record has a score, a label that makes no unpaired preference, or a label of no last answer.
    """
    if row["score"] is not None or (row["kind"] != "unpaired_preference" and row["label"] is not None):
        raise RowRejected("marks_not_expressible", "the row has a score, or a label that makes no unpaired preference")
    form = form_of(row)
    if form == "documents":
        return {"text": row["text"]}
    if form == "conversations":
        out: Row = {"messages": _messages(row["messages"])}
    elif form == "preferences":
        out = {"prompt": row["messages"], "chosen": row["chosen"], "rejected": row["rejected"]}
        out = {name: _messages(side) for name, side in out.items()}
    else:
        prompt, completion = _answered(row["messages"])
        out = {"prompt": _messages(prompt), "completion": _messages(completion), "label": row["label"]}
    return {**out, "tools": json.loads(row["tools"])} if row["tools"] else out


def _answered(messages: Sequence[Row]) -> tuple[Sequence[Row], Sequence[Row]]:
    """What was asked, and the answer: the turns behind the last one of a user."""
    start = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=-1) + 1
    if not start or start == len(messages):
        raise RowRejected("turns_not_expressible", "an unpaired preference needs a user's turn and an answer behind it")
    return messages[:start], messages[start:]


def _messages(messages: Sequence[Row]) -> list[Row]:
    return [openai_message(m) for m in messages]
