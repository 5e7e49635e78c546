"""What of a row is compared."""

from typing import Literal

from steps.contracts.records import Row, text_of
from steps.engines.text.sides import answers, asked_and_answered

Part = Literal["all", "prompt", "answer"]


def compared_text(row: Row, part: Part) -> str:
    """The text whose meaning counts, without white space around it; "" when the row has none.

    all: every message, or the document. answer: the last answer; of a preference both, the chosen one first.
    """
    if part == "all" or row["kind"] == "document":
        return text_of(row).strip()
    if part == "prompt":
        return asked_and_answered(row)[0].strip()
    given = answers(row) if row["kind"] == "preference" else (asked_and_answered(row)[1],)
    return "\n\n".join(t for t in given if t).strip()
