"""What the judge looks at: one row as the text before each answer, and the answers."""

from dataclasses import dataclass, replace
from typing import TypeAlias

from steps.contracts.records import Row

Criterion: TypeAlias = str
# 1 to 5 in steps of a half; a whole number is an int.
Score: TypeAlias = int | float
RELEVANCE, CLARITY, COMPLETENESS, ACCURACY = "relevance", "clarity", "completeness", "accuracy"
# Those of the rubric `quality`, which fixed signals know as well.
CRITERIA: tuple[Criterion, ...] = (RELEVANCE, CLARITY, COMPLETENESS, ACCURACY)
# A document answers no request, so that relevance has no meaning for it.
DOCUMENT_CRITERIA: tuple[Criterion, ...] = (CLARITY, COMPLETENESS, ACCURACY)

# Chosen: what a report shows of a row.
_EXCERPT_CHARS = 300


@dataclass(frozen=True)
class Case:
    """One row to judge. `messages` ends with the judged answer; a document has `text` instead.

    A preference row is judged by its prompt and chosen answer; the rejected one is meant to be worse. `wanted`: an
    answer that is known to be right.
    """

    record_id: str
    content_id: str
    split: str | None
    kind: str
    messages: tuple[Row, ...]
    tools: str | None
    text: str | None
    wanted: str | None = None

    @property
    def has_answer(self) -> bool:
        """Whether there is anything to judge: text, or a last assistant turn that says or calls something."""
        if self.kind == "document":
            return bool((self.text or "").strip())
        turns = [m for m in self.messages if m["role"] == "assistant"]
        return bool(turns) and bool(turns[-1]["content"].strip() or turns[-1].get("tool_calls"))

    @property
    def judged_chars(self) -> int:
        """Characters of the assistant's turns, or of the document."""
        if self.text is not None:
            return len(self.text)
        return sum(len(m["content"] or "") for m in self.messages if m["role"] == "assistant")


def case_of(row: Row) -> Case:
    """The case of one row."""
    return Case(
        record_id=row["record_id"],
        content_id=row["content_id"],
        split=row["split"],
        kind=row["kind"],
        messages=(*row["messages"], *row["chosen"]),
        tools=row["tools"],
        text=row["text"],
    )


def rejected_case_of(row: Row) -> Case | None:
    """The case of the rejected answer of a preference pair; None: the row is none, or has no such answer."""
    if row["kind"] != "preference" or not row["rejected"]:
        return None
    return replace(case_of(row), messages=(*row["messages"], *row["rejected"]))


def excerpt(case: Case) -> str:
    """The end of what came before, and the beginning of what was judged; at most 300 characters."""
    if case.text is not None:
        return case.text[:_EXCERPT_CHARS]
    if not case.messages:
        return ""
    before = case.messages[-2]["content"] if len(case.messages) > 1 else ""
    answer = case.messages[-1]["content"]
    room = max(_EXCERPT_CHARS - len(answer) - 3, _EXCERPT_CHARS // 2)
    return f"{before[-room:]} → {answer}"[:_EXCERPT_CHARS]
