"""The backend without a model: each criterion is 5 unless a signal fires.

It finds junk; it can't tell good from fair.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from steps.contracts.code import code_digest
from steps.contracts.digests import value_digest
from steps.contracts.records import Row
from steps.contracts.reports import Table
from steps.engines.rubric.case import (
    ACCURACY,
    CLARITY,
    COMPLETENESS,
    CRITERIA,
    DOCUMENT_CRITERIA,
    RELEVANCE,
    Case,
    Criterion,
)  # fmt: skip
from steps.judge.config import JudgeConfig
from steps.judge.signals.accuracy import accuracy
from steps.judge.signals.clarity import clarity
from steps.judge.signals.completeness import completeness
from steps.judge.signals.passage import READ_CHARS, Passage
from steps.judge.signals.relevance import relevance
from steps.judge.verdict import MAX_SCORE, JudgeVerdict, no_answer

_NOTHING = Passage("")
# Scores under a signal that drops and under one that flags: with 4 for every criterion a row is at the default
# threshold, so that flags alone never drop it.
_DROPS, _FLAGS = 1, 4


class Finding(NamedTuple):
    """What is left of a criterion: its score, and the signals that fired."""

    score: int
    signals: tuple[str, ...]


class HeuristicJudge:
    """Applies the signals to every row. A conversation's score is that of its weakest answer, per criterion."""

    rated = False

    def __init__(self, config: JudgeConfig) -> None:
        self.config = config
        self.digest = _signals_digest(config)
        self.criteria = CRITERIA

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Nothing is held."""

    def verdicts(self, cases: Sequence[Case]) -> list[JudgeVerdict]:
        """One verdict per case, in order; never undecided."""
        return [self._verdict(case) for case in cases]

    def known(self, cases: Sequence[Case]) -> list[bool]:
        """What is kept of a verdict is all of it."""
        return [False] * len(cases)

    def share_of(self, case: Case, shares: int) -> int | None:
        """Any: it costs nothing to decide twice."""
        return None

    def pass_over(self, rows: int) -> None:
        """Nothing to say: whoever asks shows how far it is."""

    def _verdict(self, case: Case) -> JudgeVerdict:
        criteria = DOCUMENT_CRITERIA if case.kind == "document" else CRITERIA
        if not case.has_answer:
            return no_answer(criteria, self.digest)
        found = self._document(case.text or "") if case.kind == "document" else self._conversation(case.messages)
        return JudgeVerdict(
            "heuristic",
            self.digest,
            {c: found[c].score for c in criteria},
            {c: "; ".join(found[c].signals) for c in criteria},
        )

    def _conversation(self, messages: Sequence[Row]) -> dict[Criterion, Finding]:
        weakest: dict[Criterion, Finding] = {}
        prompt, request = _NOTHING, _NOTHING
        for i, message in enumerate(messages):
            content = message["content"]
            if message["role"] == "assistant" and content.strip():
                for criterion, finding in self._answer(prompt, request, Passage(content)).items():
                    if criterion not in weakest or finding.score < weakest[criterion].score:
                        weakest[criterion] = finding
            # Signals read no further, so that a long conversation isn't joined anew for each of its turns.
            if len(prompt.text) < READ_CHARS:
                prompt = Passage(f"{prompt.text}\n\n{content}" if i else content)
            if message["role"] == "user":
                request = Passage(content)
        return weakest or dict.fromkeys((RELEVANCE, CLARITY, COMPLETENESS, ACCURACY), Finding(5, ("tool_calls_only",)))

    def _answer(self, prompt: Passage, request: Passage, answer: Passage) -> dict[Criterion, Finding]:
        return {
            RELEVANCE: self._finding(relevance(answer, prompt, request)),
            CLARITY: self._finding(clarity(answer, prompt)),
            COMPLETENESS: self._finding(completeness(answer, prompt, request)),
            ACCURACY: self._finding(accuracy(answer, prompt)),
        }

    def _document(self, text: str) -> dict[Criterion, Finding]:
        passage = Passage(text)
        return {
            CLARITY: self._finding(clarity(passage, _NOTHING)),
            COMPLETENESS: self._finding(completeness(passage, _NOTHING, _NOTHING)),
            ACCURACY: self._finding(accuracy(passage, _NOTHING)),
        }

    def _finding(self, names: Iterable[str]) -> Finding:
        """The score that these signals leave, and their names: first those that drop."""
        by: dict[str, list[str]] = {"drop": [], "flag": [], "off": []}
        for name in names:
            by[self.config.signals.action(name)].append(name)
        score = _DROPS if by["drop"] else _FLAGS if by["flag"] else MAX_SCORE
        return Finding(score, (*by["drop"], *by["flag"]))

    def counts(self) -> dict[str, Counter[str]]:
        """Nothing beside the signals, which the report counts."""
        return {}

    def tables(self) -> tuple[Table, ...]:
        """No tables of its own."""
        return ()

    def notes(self) -> tuple[str, ...]:
        """What these scores are not."""
        return (
            "Backend heuristic: fixed text signals, no language model. A 5 means that no signal fired, not that an"
            " answer is good or true.",
        )

    def warnings(self) -> tuple[str, ...]:
        """None: nothing stands between the config and the signals."""
        return ()


def _signals_digest(config: JudgeConfig) -> str:
    """Digest of the signals' code and settings: what a prompt digest is to a model. Comments don't change it."""
    modules = sorted(signal.__module__ for signal in (relevance, clarity, completeness, accuracy))
    return value_digest([config.signals.model_dump(mode="json"), *map(code_digest, modules)])
