"""Rows judged by a transformers text-classification model."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from steps.contracts.arrays import Mask
from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.engines.embed.cache import EmbeddingCache
from steps.engines.embed.text_classifier import TextClassifier
from steps.engines.embed.vectors import Vector
from steps.engines.text.parts import part_of
from steps.screen.config import ClassifierConfig, ModelAction
from steps.screen.model_findings import ModelFinding, ModelReport, chosen_rows, histogram, tally

# From the strongest.
_STRENGTH: tuple[ModelAction, ...] = ("drop", "quarantine", "flag")


class Classifier:
    """A loaded classifier, and what it says about rows."""

    def __init__(self, config: ClassifierConfig, ctx: StageContext, cache: EmbeddingCache) -> None:
        self.config = config
        self.name = f"classifier {config.name}"
        self.undecided = config.undecided
        self._scorer = TextClassifier(config, self.name, ctx.root, cache)
        self._counts: Counter[str] = Counter()
        self._scores: list[float] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Nothing is held open."""

    def find(self, dataset: Dataset, keep: Mask) -> Iterator[ModelFinding]:
        """Rows whose score lies on the bad side of a threshold, and rows whose score isn't a number."""
        for numbers, rows in chosen_rows(dataset, keep, self.config.splits, self.name):
            texts = [(n, r["record_id"], part_of(r, self.config.part)) for n, r in zip(numbers, rows, strict=True)]
            read = [(number, record_id, text) for number, record_id, text in texts if text]
            self._counts["rows without a text to read"] += len(texts) - len(read)
            for (number, record_id, _), found in zip(read, self.scores([t for _, _, t in read]), strict=True):
                answer = self._answer(number, record_id, found)
                if answer is not None:
                    yield answer

    def _answer(self, number: int, record_id: str, found: Vector) -> ModelFinding | None:
        score = float(found.values[self._scorer.column])
        self._counts["rows scored"] += 1
        self._counts["rows cut to what the model reads"] += found.cut
        reason = f"classifier.{self.config.name}"
        if not math.isfinite(score):
            return ModelFinding(number, record_id, None, f"undecided:{reason}", undecided="not_finite")
        self._scores.append(score)
        action = self._action(score)
        if action is None:
            return None
        evidence = {"threshold": self.config.thresholds[action], "cut": found.cut}
        return ModelFinding(number, record_id, action, reason, round(score, 6), evidence)

    def _action(self, score: float) -> ModelAction | None:
        """The strongest action whose threshold the score has passed."""
        for action in _STRENGTH:
            bound = self.config.thresholds.get(action)
            if bound is not None and (score >= bound if self.config.when == "above" else score < bound):
                return action
        return None

    def scores(self, texts: Sequence[str]) -> list[Vector]:
        """Scores of every class per text, in order; equal texts are scored once, known ones not at all."""
        return self._scorer.scores(texts)

    def report(self) -> ModelReport:
        """Counts, the distribution of scores, and what was cut."""
        shown = self.config.label or "regression"
        notes = []
        if cut := self._counts["rows cut to what the model reads"]:
            notes.append(f"{self.name} read only the first {self._scorer.longest} tokens of {cut} rows.")
        scores = histogram(f"{self.name}: {shown}", "score", self._scores)
        return ModelReport(tally(self._counts), [scores], notes=notes)
