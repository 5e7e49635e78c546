"""What the judge looks at: one row as the text before each answer, and the answers."""

from dataclasses import dataclass
from typing import TypeAlias

from steps.contracts.records import Row

Criterion: TypeAlias = str
RELEVANCE, CLARITY, COMPLETENESS, ACCURACY = "relevance", "clarity", "completeness", "accuracy"
CRITERIA: tuple[Criterion, ...] = (RELEVANCE, CLARITY, COMPLETENESS, ACCURACY)
# A document answers no request, so that relevance has no meaning for it.
DOCUMENT_CRITERIA: tuple[Criterion, ...] = (CLARITY, COMPLETENESS, ACCURACY)


@dataclass(frozen=True)
class Case:
    """One row to judge. `messages` ends with the judged answer; a document has `text` instead.

    A preference row is judged by its prompt and chosen answer; the rejected one is meant to be worse.
    """

    record_id: str
    content_id: str
    split: str | None
    kind: str
    messages: tuple[Row, ...]
    tools: str | None
    text: str | None

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """The criteria that this kind of row is judged by."""
        return DOCUMENT_CRITERIA if self.kind == "document" else CRITERIA

    @property
    def has_answer(self) -> bool:
        """Whether there is anything to judge: text, or a last assistant turn that says or calls something."""
        if self.kind == "document":
            return bool((self.text or "").strip())
        turns = [m for m in self.messages if m["role"] == "assistant"]
        return bool(turns) and bool(turns[-1]["content"].strip() or turns[-1].get("tool_calls"))


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
