"""Rows of pairs that passed: plain ones, and those with documents before the question."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from steps.contracts.digests import short_id
from steps.contracts.records import Row, make_row, message
from steps.engines.retrieval.words import WordIndex
from steps.engines.text.normalise import squeezed
from steps.synthesize.candidates import Candidate
from steps.synthesize.config import RaftConfig
from steps.synthesize.passages import Passage

# Hex digits of a digest that are a number evenly spread from 0 to 1.
_DIGITS = 12


def pair_row(pair: Candidate, made_by: dict[str, Any]) -> Row:
    """The pair as a conversation. Of an unanswerable one the passage stands before the question: without it there would
    be nothing that doesn't answer it. `made_by`: model and prompt, for `meta`.
    """
    shown = pair.task.passages if pair.kind == "unanswerable" else ()
    return _row(pair, pair.locator, pair.raw, _with_documents(shown, pair.question), pair.answer, made_by, {})


def _row(
    pair: Candidate, locator: str, raw: bytes, question: str, answer: str, made_by: dict[str, Any], more: dict[str, Any]
) -> Row:
    passages = pair.task.passages
    chunks = [{**p.place(), **({"evidence": found} if (found := _evidence(pair, p)) else {})} for p in passages]
    said = {"kind": pair.kind, "document": passages[0].source, "chunks": chunks, **made_by, **more}
    row = make_row(
        kind="conversation", source=passages[0].source, locator=locator, raw=raw,
        messages=[message("user", question), message("assistant", answer)],
        parents=list(dict.fromkeys(p.document for p in passages)), meta={"synthesis": said},
    )  # fmt: skip
    row["split"] = passages[0].split
    return row


def _evidence(pair: Candidate, passage: Passage) -> list[tuple[int, int]]:
    """Where what the checker quoted stands in the document, in its order: start and end in characters. A quote of a
    heading or the URL, or that stands there in another normal form only, is left out.
    """
    spans = set()
    for quote in filter(None, (claim["evidence"].split() for claim in pair.claims)):
        if found := re.search(r"\s+".join(map(re.escape, quote)), passage.text, re.IGNORECASE):
            spans.add((passage.start + found.start(), passage.start + found.end()))
    return sorted(spans)


class RaftRows:
    """Rows with documents before the question: the right one among `distractors`, or these alone with a refusal."""

    def __init__(self, config: RaftConfig, passages: Sequence[Passage]) -> None:
        self._config = config
        # Of each side its own: a held-out document is in no row that is trained on.
        self._sides: dict[str | None, list[Passage]] = {}
        for p in passages:
            self._sides.setdefault(p.split, []).append(p)
        self._indexes = {side: WordIndex([p.text for p in those]) for side, those in self._sides.items()}

    def of(self, pair: Candidate, made_by: dict[str, Any]) -> Iterator[Row]:
        """The row of a pair; none where there are no distractors, or the pair carries its document already."""
        if pair.kind == "unanswerable":
            return
        distractors = self._distractors(pair)
        if not distractors:
            return
        without = _position("without", pair) < self._config.without_gold
        shown = distractors if without else [*pair.task.passages, *distractors]
        shown.sort(key=lambda p: short_id("order", pair.record_id, p.document, str(p.number)))
        answer = self._config.refusal if without else pair.answer
        said = {"raft": {"gold": not without, "documents": [{"document": p.source, **p.place()} for p in shown]}}
        question = _with_documents(shown, pair.question)
        yield _row(pair, f"{pair.locator}:raft", question.encode(), question, answer, made_by, said)

    def _distractors(self, pair: Candidate) -> list[Passage]:
        """The passages nearest to the question that don't hold its answer's words."""
        side = pair.task.passages[0].split
        gold = {(p.document, p.number) for p in pair.task.passages}
        answer = squeezed(pair.answer)
        wanted = self._config.distractors
        near = self._indexes[side].nearest([pair.question], wanted + len(gold) + 4)[0]
        others = [self._sides[side][i] for i in near]
        fit = [p for p in others if (p.document, p.number) not in gold and answer not in squeezed(p.text)]
        return fit[:wanted]


def _with_documents(passages: Sequence[Passage], question: str) -> str:
    """The question behind the texts that it is to be answered from."""
    if not passages:
        return question
    return "\n\n".join([*(f"[{n}] {_headed(p)}" for n, p in enumerate(passages, 1)), question])


def _headed(passage: Passage) -> str:
    name = " / ".join([passage.source.rsplit("/", 1)[-1], *passage.headings])
    return f"{name}{f' ({passage.url})' if passage.url else ''}\n{passage.text}"


def _position(what: str, pair: Candidate) -> float:
    """A number from 0 to 1 that depends on the pair alone."""
    return int(short_id(what, pair.record_id)[:_DIGITS], 16) / float(1 << 4 * _DIGITS)
