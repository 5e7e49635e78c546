"""What is made of rows before it is a row."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from steps.contracts.digests import short_id
from steps.contracts.records import Row, make_row, message
from steps.engines.prompted.prompted import Prompted

# Of a digest that tells variants apart.
_HOW_DIGITS = 12


@dataclass
class Draft:
    """A row to be.

    Attributes:
        method: its kind; how: which of its variants (a language, a persona ...), "" where there is one; number: from 0.
        seeds: what it is made of; the first one gives the turns before the question.
        answer: "" until the teacher has answered.
        dropped: reason code; "": it stays so far.
    """

    method: str
    how: str
    number: int
    seeds: tuple[Prompted, ...]
    question: str
    answer: str = ""
    reasoning: str | None = None
    dropped: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)

    @property
    def before(self) -> tuple[Row, ...]:
        """The turns before the question: of a new task none but what the system says."""
        first = self.seeds[0].before
        return tuple(m for m in first if m["role"] == "system") if self.method == "self_instruct" else first

    @property
    def turns(self) -> list[Row]:
        """What the teacher is asked."""
        return [*self.before, message("user", self.question)]

    def drop(self, reason: str, **evidence: Any) -> None:
        """It goes, for this reason; the first one counts."""
        if not self.dropped:
            self.dropped, self.evidence = reason, evidence

    def row(self, made_by: Mapping[str, Any]) -> Row:
        """The row. `made_by`: models and prompt, for `meta`."""
        source = self.seeds[0].row
        said = {"method": self.method, **({"how": self.how} if self.how else {}), **made_by}
        row = make_row(
            kind="conversation", source=source["source"],
            locator=f"{source['locator']}:{self.method}:{short_id(self.how)[:_HOW_DIGITS]}:{self.number}",
            raw=f"{source['record_id']}\0{self.question}\0{self.answer}".encode(),
            messages=[*self.turns, message("assistant", self.answer, reasoning=self.reasoning)],
            parents=[s.record_id for s in self.seeds], meta={"augmentation": said}, batch=source["batch"],
        )  # fmt: skip
        row["split"] = source["split"]
        return row
