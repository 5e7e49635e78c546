"""What is counted of a model that judges, beside its scores: habits of its own that say nothing about rows."""

from collections import Counter
from collections.abc import Mapping

from steps.contracts.records import Row
from steps.contracts.reports import Example, Table
from steps.engines.rubric.case import Criterion, Score
from steps.judge.biases.length import LengthTally
from steps.judge.biases.own_family import OwnFamily
from steps.judge.biases.scale import ScaleTally, scale_warnings
from steps.judge.config import JudgeConfig
from steps.judge.verdict import MAX_SCORE, JudgeVerdict

# Chosen: examples of each score on a page.
_EACH = 2


class Biases:
    """Counts of a run whose judge is a model; memory is bounded whatever the number of rows."""

    def __init__(self, config: JudgeConfig) -> None:
        self._length = LengthTally(config.threshold)
        self._scale = ScaleTally()
        self._family = OwnFamily(models_of(config))
        # By whole score: those with the smallest ids, so that they don't depend on the order of the rows.
        self._examples: dict[int, list[tuple[str, Example]]] = {}

    def add(self, row: Row, verdict: JudgeVerdict, excerpt: str, chars: int) -> None:
        """Count a row; of it are read record_id, content_id, source and meta."""
        self._scale.add(verdict.ratings)
        if verdict.share is None or verdict.backend == "rule":
            return
        self._length.add(row["content_id"], row["record_id"], row["source"], chars, verdict.share)
        self._family.add(row, verdict.share, verdict.members)
        self._show(row, verdict, verdict.share, excerpt)

    def _show(self, row: Row, verdict: JudgeVerdict, share: float, excerpt: str) -> None:
        score = int(share * MAX_SCORE + 0.5)
        shown = self._examples.setdefault(score, [])
        place = f"{row['content_id']} {row['record_id']}"
        if len(shown) == _EACH and place >= shown[-1][0]:
            return
        evidence = {"scores": dict(verdict.scores), "reasons": {c: r[:200] for c, r in verdict.reasons.items() if r}}
        example = Example(
            record_id=row["record_id"], reason=f"score {score}", text=excerpt, evidence=evidence, chapter="scores"
        )
        self._examples[score] = sorted([*shown, (place, example)], key=lambda e: e[0])[:_EACH]

    def examples(self) -> tuple[Example, ...]:
        """Some rows at each score, the highest first."""
        return tuple(e for _, of in sorted(self._examples.items(), reverse=True) for _, e in of)

    def tables(self, scores: Mapping[Criterion, Counter[Score]]) -> tuple[Table, ...]:
        """Use of the scale, length, own family. scores: rows by criterion and score."""
        return (*self._scale.tables(scores), *self._length.tables(), *self._family.tables())

    def warnings(self, scores: Mapping[Criterion, Counter[Score]]) -> tuple[str, ...]:
        """What a person should look at."""
        return (*scale_warnings(scores), *self._length.warnings(), *self._family.warnings())


def models_of(config: JudgeConfig) -> dict[str, str]:
    """The model of each judge, by its name in the jury."""
    return {name: _model(alone) for name, alone in config.of_jury().items()}


def _model(config: JudgeConfig) -> str:
    if config.endpoint is not None:
        return config.endpoint.model
    return config.local.model if config.local is not None else ""
