"""A part of a row as one text, for models that read rows: embeddings, classifiers."""

from typing import Literal, TypeAlias

from steps.contracts.records import Row, text_of
from steps.engines.text.sides import answers, asked_and_answered

Part: TypeAlias = Literal["all", "prompt", "answer"]


def part_of(row: Row, part: Part) -> str:
    """The text without white space around it; "" when the row has none. Documents: always the whole text.

    all: every message. prompt: everything up to the last answer. answer: the last answer; of a preference both, the
    chosen one first.
    """
    if part == "all" or row["kind"] == "document":
        return text_of(row).strip()
    if part == "prompt":
        return asked_and_answered(row)[0].strip()
    given = answers(row) if row["kind"] == "preference" else (asked_and_answered(row)[1],)
    return "\n\n".join(t for t in given if t).strip()
