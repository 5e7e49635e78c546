"""Rows that others are made of, and what is made of them before it is a row."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from steps.contracts.digests import short_id
from steps.contracts.records import Row, make_row, message

# Hex digits of a digest that are a number evenly spread from 0 to 1.
_DIGITS = 12


@dataclass(frozen=True)
class Seed:
    """A row that trains: the turns up to the user's last one, that one, and its answer."""

    row: Row
    before: tuple[Row, ...]
    question: str
    answer: str

    @property
    def record_id(self) -> str:
        """Of the row."""
        return str(self.row["record_id"])

    def position(self, what: str) -> float:
        """A number from 0 to 1 that depends on the row and `what` alone."""
        return int(short_id(what, self.record_id)[:_DIGITS], 16) / float(1 << 4 * _DIGITS)


def seed_of(row: Row) -> Seed | None:
    """The row as a seed; None where it is none: it is held out, it is no conversation, it calls tools, or it doesn't
    end with a user's turn and its answer.
    """
    turns = row["messages"]
    if row["kind"] != "conversation" or row["split"] in ("validation", "test") or row["tools"] or len(turns) < 2:
        return None
    plain = all(not m["tool_calls"] and m["role"] in ("system", "user", "assistant") for m in turns)
    if not plain or turns[-1]["role"] != "assistant" or turns[-2]["role"] != "user":
        return None
    if not turns[-1]["content"].strip() or not turns[-2]["content"].strip():
        return None
    return Seed(row, tuple(turns[:-2]), turns[-2]["content"], turns[-1]["content"])


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
    seeds: tuple[Seed, ...]
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
            locator=f"{source['locator']}:{self.method}:{short_id(self.how)[:_DIGITS]}:{self.number}",
            raw=f"{source['record_id']}\0{self.question}\0{self.answer}".encode(),
            messages=[*self.turns, message("assistant", self.answer, reasoning=self.reasoning)],
            parents=[s.record_id for s in self.seeds], meta={"augmentation": said}, batch=source["batch"],
        )  # fmt: skip
        row["split"] = source["split"]
        return row
