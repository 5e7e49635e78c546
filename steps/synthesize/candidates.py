"""Pairs that a model has written, on their way through the checks."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from steps.contracts.digests import short_id
from steps.engines.llm.asker import Asker
from steps.engines.llm.client import Reply
from steps.engines.llm.session import Answer, Question
from steps.synthesize.config import PairKind
from steps.synthesize.passages import Passage
from steps.synthesize.prompts import WRITTEN

# Chosen: longer ones are no question, and no answer to one.
_QUESTION_CHARS, _ANSWER_CHARS = 1_000, 8_000


@dataclass(frozen=True)
class Task:
    """What is asked for of one passage, or of two. `key`: of the question that is sent."""

    kind: PairKind
    n: int
    passages: tuple[Passage, ...]

    @property
    def place(self) -> str:
        """Where of its document, and what: part of a row's locator."""
        spans = "+".join(f"{p.start}-{p.end}" for p in self.passages)
        return f"chunk:{spans}:{self.kind}"


@dataclass
class Candidate:
    """A pair.

    Attributes:
        number: from 0, in the reply that it stands in.
        dropped: reason code; "": it stays so far. flagged: likewise.
        evidence: what the reason rests on.
    """

    task: Task
    number: int
    question: str
    answer: str
    dropped: str = ""
    flagged: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)
    claims: list[dict[str, Any]] = field(default_factory=list)

    @property
    def kind(self) -> PairKind:
        """Its kind."""
        return self.task.kind

    @property
    def locator(self) -> str:
        """Where the row was made."""
        return f"{self.task.place}:{self.number}"

    @property
    def raw(self) -> bytes:
        """The bytes that the row is made of."""
        return f"{self.question}\0{self.answer}".encode()

    @property
    def record_id(self) -> str:
        """Id of the row."""
        return short_id(self.task.passages[0].source, self.locator, self.raw)

    def drop(self, reason: str, **evidence: Any) -> None:
        """It goes, for this reason; the first one counts."""
        if not self.dropped:
            self.dropped, self.evidence = reason, evidence


@dataclass
class Asked:
    """What became of a request for pairs. `outcome`: pairs, none (the model found nothing to ask), or a reason code."""

    task: Task
    outcome: str
    pairs: list[Candidate] = field(default_factory=list)
    reply: str = ""


def read_written(task: Task, question: Question, answer: Answer, asker: Asker) -> Asked:
    """The pairs in a reply, those of no use marked so."""
    found = asker.object_of("writing", question, answer, WRITTEN)
    if isinstance(found, str):
        said = asker.cleaned("writing", question, [answer.reply.text]) if isinstance(answer.reply, Reply) else None
        return Asked(task, found, reply=said[0] if said else "")
    pairs = [
        Candidate(task, number, pair["question"].strip(), pair["answer"].strip())
        for number, pair in enumerate(found["pairs"])
    ]
    for pair, fault in zip(pairs, _faults(pairs, task), strict=True):
        if fault:
            pair.drop(fault, **(_too_long(pair) if fault == "too_long" else {}))
    return Asked(task, "pairs" if pairs else "none", pairs)


def _too_long(pair: Candidate) -> dict[str, int]:
    """Characters of what is too long, and of what may be; {}: nothing is."""
    if len(pair.question) > _QUESTION_CHARS:
        return {"question_chars": len(pair.question), "limit": _QUESTION_CHARS}
    return {"answer_chars": len(pair.answer), "limit": _ANSWER_CHARS} if len(pair.answer) > _ANSWER_CHARS else {}


def _faults(pairs: list[Candidate], task: Task) -> Iterator[str]:
    url = task.passages[0].url
    for pair in pairs:
        if pair.number >= task.n:
            yield "more_than_asked"
        elif not pair.question or not pair.answer:
            yield "empty"
        elif _too_long(pair):
            yield "too_long"
        elif "<|" in pair.question + pair.answer or "\0" in pair.question + pair.answer:
            yield "control_tokens"
        elif task.kind == "where" and url not in pair.answer.replace("<", " ").replace(">", " ").split():
            # With a full stop behind it is still the URL.
            yield "" if url and url in pair.answer else "without_url"
        else:
            yield ""
