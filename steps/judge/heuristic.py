"""The backend without a model: each criterion is 5 unless a signal lowers it.

It finds junk; it can't tell good from fair.
"""

from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from steps.contracts.code import code_digest
from steps.contracts.digests import value_digest
from steps.contracts.records import Row
from steps.contracts.reports import Table
from steps.engines.rubric.case import ACCURACY, CLARITY, COMPLETENESS, RELEVANCE, Case, Criterion
from steps.judge.config import JudgeConfig
from steps.judge.signals.accuracy import accuracy
from steps.judge.signals.clarity import clarity
from steps.judge.signals.completeness import completeness
from steps.judge.signals.passage import READ_CHARS, Passage, worst
from steps.judge.signals.relevance import relevance
from steps.judge.verdict import JudgeVerdict, no_answer

_NOTHING = Passage("")


class HeuristicJudge:
    """Applies the signals to every row. A conversation's score is that of its weakest answer, per criterion."""

    def __init__(self, config: JudgeConfig) -> None:
        self.config = config
        self.digest = _signals_digest(config)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Nothing is held."""

    def verdicts(self, cases: Sequence[Case]) -> list[JudgeVerdict]:
        """One verdict per case, in order; never undecided."""
        return [self._verdict(case) for case in cases]

    def pass_over(self, rows: int) -> None:
        """Nothing to say: whoever asks shows how far it is."""

    def _verdict(self, case: Case) -> JudgeVerdict:
        if not case.has_answer:
            return no_answer(case, self.digest)
        found = _document(case.text or "") if case.kind == "document" else self._conversation(case.messages)
        scores = {c: found[c][0] for c in case.criteria}
        reasons = {c: "; ".join(found[c][1]) for c in case.criteria}
        return JudgeVerdict("heuristic", self.digest, scores, reasons)

    def _conversation(self, messages: Sequence[Row]) -> dict[Criterion, tuple[int, list[str]]]:
        weakest: dict[Criterion, tuple[int, list[str]]] = {}
        prompt, request = _NOTHING, _NOTHING
        for i, message in enumerate(messages):
            content = message["content"]
            if message["role"] == "assistant" and content.strip():
                for criterion, finding in self._answer(prompt, request, Passage(content)).items():
                    if criterion not in weakest or finding[0] < weakest[criterion][0]:
                        weakest[criterion] = finding
            # Signals read no further, so that a long conversation isn't joined anew for each of its turns.
            if len(prompt.text) < READ_CHARS:
                prompt = Passage(f"{prompt.text}\n\n{content}" if i else content)
            if message["role"] == "user":
                request = Passage(content)
        return weakest or {c: (5, ["tool_calls_only"]) for c in (RELEVANCE, CLARITY, COMPLETENESS, ACCURACY)}

    def _answer(self, prompt: Passage, request: Passage, answer: Passage) -> dict[Criterion, tuple[int, list[str]]]:
        return {
            RELEVANCE: worst(relevance(answer, prompt, request, self.config.penalize_refusals)),
            CLARITY: worst(clarity(answer, prompt)),
            COMPLETENESS: worst(completeness(answer, prompt, request)),
            ACCURACY: worst(accuracy(answer, prompt)),
        }

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


def _document(text: str) -> dict[Criterion, tuple[int, list[str]]]:
    passage = Passage(text)
    return {
        CLARITY: worst(clarity(passage, _NOTHING)),
        COMPLETENESS: worst(completeness(passage, _NOTHING, _NOTHING)),
        ACCURACY: worst(accuracy(passage, _NOTHING)),
    }


def _signals_digest(config: JudgeConfig) -> str:
    """Digest of the signals' code and settings: what a prompt digest is to a model. Comments don't change it."""
    modules = sorted(signal.__module__ for signal in (relevance, clarity, completeness, accuracy))
    return value_digest([config.penalize_refusals, *map(code_digest, modules)])
