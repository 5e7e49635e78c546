"""How far a judge agrees with itself: rows that it is asked about once more."""

import math
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np

from steps.contracts.reports import Table
from steps.engines.rubric.case import Criterion, Score
from steps.engines.scoring.agreement import Crossed, kappa
from steps.engines.scoring.wilson import wilson
from steps.judge.config import JudgeConfig
from steps.judge.deciding import keeps
from steps.judge.verdict import MAX_SCORE, JudgeVerdict

# Chosen: a judge that decides one row in ten otherwise is said so aloud; of fewer rows nothing is.
_STEADY = 0.9
_FEWEST = 10
# What each judge says of a row: scores, or the reason code why there are none.
Said = Mapping[Criterion, Score] | str


def said_by(verdict: JudgeVerdict, judges: Sequence[str]) -> dict[str, Said]:
    """What each judge says, by its name in the jury; without a jury the only one."""
    if verdict.members:
        return dict(verdict.members)
    return {judges[0]: verdict.scores if verdict.share is not None else str(verdict.error)}


class Repeats:
    """Pairs of what a judge said first and then."""

    def __init__(self, config: JudgeConfig, judges: Mapping[str, str]) -> None:
        """judges: name -> model, of those that were asked again."""
        self._config, self._judges = config, judges
        self._both: dict[str, list[tuple[Mapping[Criterion, Score], Mapping[Criterion, Score]]]] = {}
        self._silent = dict.fromkeys(judges, 0)

    def add(self, first: Mapping[str, Said], then: Mapping[str, Said]) -> None:
        """Count a row."""
        for name in self._judges:
            one, other = first.get(name, ""), then.get(name, "")
            if isinstance(one, str) or isinstance(other, str):
                self._silent[name] += 1
            else:
                self._both.setdefault(name, []).append((one, other))

    def tables(self) -> tuple[Table, ...]:
        """A line for each judge."""
        columns = (
            "judge", "rows", "without a verdict", "same scores", "low", "high", "same decision", "weighted kappa",
            "mean change of the share",
        )  # fmt: skip
        rows = [(self._judges[n], len(both), self._silent[n], *self._figures(both)) for n, both in self._both.items()]
        return (Table(title="Asked again", columns=columns, rows=tuple(rows), chapter="agreement"),) if rows else ()

    def _figures(
        self, both: Sequence[tuple[Mapping[Criterion, Score], Mapping[Criterion, Score]]]
    ) -> tuple[float | None, ...]:
        same = wilson(sum(_whole(a) == _whole(b) for a, b in both), len(both))
        first, then = (np.array([*chain.from_iterable(_whole(pair[i]).values() for pair in both)]) for i in (0, 1))
        table = Crossed.of(first, then, range(1, MAX_SCORE + 1))
        weighted = float(kappa("quadratic", table.first)(table.counts))
        shown = (same.value, same.low, same.high) if same else (None,) * 3
        change = float(np.mean([_share(b) - _share(a) for a, b in both]))
        figures = (*shown, self._decided(both) / len(both), None if math.isnan(weighted) else weighted, change)
        return tuple(None if f is None else round(f, 4) for f in figures)

    def _decided(self, both: Sequence[tuple[Mapping[Criterion, Score], Mapping[Criterion, Score]]]) -> int:
        return sum(keeps(self._config, a) == keeps(self._config, b) for a, b in both)

    def warnings(self) -> tuple[str, ...]:
        """Judges that decide otherwise too often."""
        return tuple(
            f"{self._judges[name]}, asked again, decides otherwise about {len(both) - self._decided(both)} of"
            f" {len(both)} rows."
            for name, both in self._both.items()
            if len(both) >= _FEWEST and self._decided(both) < _STEADY * len(both)
        )


def _whole(scores: Mapping[Criterion, Score]) -> dict[Criterion, int]:
    """Nearest whole ratings, in the order of the criteria's names."""
    return {c: math.floor(scores[c] + 0.5) for c in sorted(scores)}


def _share(scores: Mapping[Criterion, Score]) -> float:
    return sum(scores.values()) / (MAX_SCORE * len(scores))
