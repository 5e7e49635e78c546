"""What is asked of pairs before they become rows: is each claim in the document, and is the document needed?"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from steps.engines.llm.asker import Asker
from steps.engines.text.normalise import squeezed
from steps.synthesize.candidates import Candidate
from steps.synthesize.config import SynthesizeConfig
from steps.synthesize.overlap import overlap, strange_names
from steps.synthesize.passages import Passage
from steps.synthesize.prompts import (
    AGREES,
    CLAIMS,
    DECLINES,
    READ,
    to_compare,
    to_find_claims,
    to_read,
    to_see_refusal,
)

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
# How steps are numbered, which no document has to say.
_STEP = re.compile(r"^\s*\d+[.):]\s|\bstep \d+\b", re.IGNORECASE | re.MULTILINE)
# One word of an alphabet: it stands nearly anywhere, and states nothing.
_ONE_WORD = re.compile(r"[a-z0-9'’-]{1,20}")
_SHOWN_CHARS = 600


class Checks:
    """Asks one model; what it can't decide is dropped as unchecked, with the reason why."""

    def __init__(self, asker: Asker, config: SynthesizeConfig) -> None:
        self._asker, self._config = asker, config

    def run(self, pairs: Sequence[Candidate]) -> None:
        """Mark those that don't stand."""
        self._grounded([p for p in _left(pairs) if p.kind != "unanswerable"])
        self._unanswered([p for p in _left(pairs) if p.kind == "unanswerable"])
        self._two_hops([p for p in _left(pairs) if p.kind == "multi_hop"])
        if self._config.closed_book != "off":
            self._closed_book([p for p in _left(pairs) if p.kind not in ("unanswerable", "where")])

    def _grounded(self, pairs: Sequence[Candidate]) -> None:
        asked = [to_find_claims(p.question, p.answer, p.task.passages, self._asker.endpoint) for p in pairs]
        for pair, found in zip(pairs, self._asker.objects("claims", asked, CLAIMS), strict=True):
            if isinstance(found, str):
                pair.drop(f"unchecked:{found}")
                continue
            pair.claims = found["claims"]
            faults = list(_unsupported(pair))
            if faults:
                pair.drop("unsupported_claim", unsupported=faults, claims=len(pair.claims))
            elif missing := _unlisted(pair):
                pair.drop("claims_left_out", numbers=missing)
            elif weak := list(_weak(pair, self._config.min_evidence_overlap)):
                pair.drop("weak_evidence", weak=weak, claims=len(pair.claims))
            elif strange := list(_strange(pair)) if self._config.check_names else []:
                pair.drop("strange_name", weak=strange, claims=len(pair.claims))

    def _unanswered(self, pairs: Sequence[Candidate]) -> None:
        """Unanswerable ones: nobody who reads the passage finds an answer, and theirs is none."""
        for pair, found in self._read(pairs, lambda p: p.task.passages):
            if isinstance(found, str):
                pair.drop(f"unchecked:{found}")
            elif found["answer"] is not None:
                pair.drop("answerable", read=_cut(found["answer"]))
        left = _left(pairs)
        asked = [to_see_refusal(p.question, p.answer, self._asker.endpoint) for p in left]
        for pair, found in zip(left, self._asker.objects("refusal", asked, DECLINES), strict=True):
            if isinstance(found, str):
                pair.drop(f"unchecked:{found}")
            elif not found["declines"]:
                pair.drop("no_refusal")

    def _two_hops(self, pairs: Sequence[Candidate]) -> None:
        """One passage alone isn't enough."""
        for number in (0, 1):
            for pair, found in self._same(_left(pairs), lambda p, n=number: p.task.passages[n : n + 1]):  # type: ignore[misc]
                if isinstance(found, str):
                    pair.drop(f"unchecked:{found}")
                elif found["agrees"]:
                    pair.drop("one_hop", passage=number)

    def _closed_book(self, pairs: Sequence[Candidate]) -> None:
        for pair, found in self._same(pairs, lambda _: ()):
            if isinstance(found, str):
                pair.drop(f"unchecked:{found}")
            elif found["agrees"] and self._config.closed_book == "drop":
                pair.drop("known_without_document", answer=_cut(found["answer"]))
            elif found["agrees"]:
                pair.flagged, pair.evidence = "known_without_document", {"answer": _cut(found["answer"])}

    def _same(
        self, pairs: Sequence[Candidate], seen: Callable[[Candidate], Sequence[Passage]]
    ) -> Iterator[tuple[Candidate, dict[str, Any] | str]]:
        """Of each pair whether whoever sees only this answers as it does, and how."""
        read = list(self._read(pairs, seen))
        said = [(p, f["answer"]) for p, f in read if not isinstance(f, str) and f["answer"] is not None]
        asked = [to_compare(p.question, p.answer, a, self._asker.endpoint) for p, a in said]
        compared = iter(self._asker.objects("agreement", asked, AGREES))
        for pair, found in read:
            if isinstance(found, str):
                yield pair, found
            elif found["answer"] is None:
                yield pair, {"agrees": False, "answer": ""}
            else:
                agrees = next(compared)
                yield pair, agrees if isinstance(agrees, str) else {**agrees, "answer": found["answer"]}

    def _read(
        self, pairs: Sequence[Candidate], seen: Callable[[Candidate], Sequence[Passage]]
    ) -> Iterator[tuple[Candidate, dict[str, Any] | str]]:
        asked = [to_read(p.question, seen(p), self._asker.endpoint) for p in pairs]
        return zip(pairs, self._asker.objects("reading", asked, READ), strict=True)


def _left(pairs: Sequence[Candidate]) -> list[Candidate]:
    return [p for p in pairs if not p.dropped]


def _unsupported(pair: Candidate) -> Iterator[dict[str, str]]:
    """The claims that don't stand in the passages. What the checker quotes must stand there, and so must each number of
    a claim, or in the question: its word alone is none.
    """
    if not pair.claims:
        yield {"claim": "", "why": "no claim was found in the answer"}
    there = squeezed("\n".join(t for p in pair.task.passages for t in _texts(p)))
    numbers = _numbers(f"{there} {pair.question}")
    for claim in pair.claims:
        evidence = squeezed(claim["evidence"])
        if not claim["supported"]:
            yield {"claim": _cut(claim["claim"]), "why": "not stated"}
        elif not evidence or evidence not in there:
            yield {"claim": _cut(claim["claim"]), "why": "its evidence isn't there", "quoted": _cut(claim["evidence"])}
        elif _ONE_WORD.fullmatch(evidence) and evidence != squeezed(claim["claim"]):
            yield {"claim": _cut(claim["claim"]), "why": "one word is no evidence", "quoted": evidence}
        elif strange := sorted(_numbers(claim["claim"]) - numbers):
            yield {"claim": _cut(claim["claim"]), "why": "a number isn't there", "quoted": ", ".join(strange)[:60]}


def _weak(pair: Candidate, least: float) -> Iterator[dict[str, str]]:
    """The claims that share too few words with what is quoted for them."""
    text = "\n".join(t for p in pair.task.passages for t in _texts(p))
    for claim in pair.claims:
        share = overlap(claim["claim"], claim["evidence"], text, pair.question)
        if share < least:
            why = f"shares {share:.2f} of its words with what is quoted"
            yield {"claim": _cut(claim["claim"]), "why": why, "quoted": _cut(claim["evidence"])}


def _strange(pair: Candidate) -> Iterator[dict[str, str]]:
    """The claims with names that the passages don't know."""
    text = "\n".join(t for p in pair.task.passages for t in _texts(p))
    for claim in pair.claims:
        if names := strange_names(claim["claim"], text, pair.question):
            yield {"claim": _cut(claim["claim"]), "why": "a name isn't there", "quoted": ", ".join(names)[:60]}


def _texts(passage: Passage) -> Iterator[str]:
    yield passage.text
    yield from passage.headings
    yield from (str(v) for v in (passage.url, passage.page, passage.source.rsplit("/", 1)[-1]) if v)


def _unlisted(pair: Candidate) -> list[str]:
    """Numbers of the answer that no claim and no evidence has: the checker has passed something over."""
    listed = {n for c in pair.claims for n in _numbers(f"{c['claim']} {c['evidence']}")}
    return sorted(_numbers(pair.answer) - listed - _numbers(pair.question))[:10]


def _numbers(text: str) -> set[str]:
    """The numbers of a text but those of its steps; 1,000 is 1000."""
    return {re.sub(r",(?=\d{3}(?!\d))", "", n) for n in _NUMBER.findall(_STEP.sub(" ", text))}


def _cut(text: str) -> str:
    return text[:_SHOWN_CHARS]
