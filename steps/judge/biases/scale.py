"""How a judge uses its scale: which ratings it gives, and how probable it finds each."""

import math
from collections import Counter
from collections.abc import Mapping

from steps.contracts.reports import Table
from steps.engines.rubric.asking import RATINGS
from steps.engines.rubric.case import Criterion, Score
from steps.judge.ratings import Rating

# Chosen: a judge that gives one rating so often hardly tells rows apart.
_NEARLY_ALL = 0.95
_FEWEST = 50


class ScaleTally:
    """Sums of the probabilities of ratings by criterion; memory is bounded."""

    def __init__(self) -> None:
        self._sums: dict[Criterion, list[float]] = {}

    def add(self, ratings: Mapping[Criterion, Rating]) -> None:
        """Count a row's probabilities; those of a row without a verdict as well, where they are numbers."""
        for criterion, rating in ratings.items():
            if math.isfinite(rating.mass) and rating.mass > 0:
                sums = self._sums.setdefault(criterion, [0.0] * (len(RATINGS) + 3))
                for place, value in enumerate((*rating.shares, rating.mass, rating.entropy, 1.0)):
                    sums[place] += value

    def tables(self, scores: Mapping[Criterion, Counter[Score]]) -> tuple[Table, ...]:
        """Shares of the ratings, and, where there are any, their probabilities, all means over rows."""
        columns = ("criterion", *RATINGS, "entropy of 1", "at the highest")
        rows = [_used(criterion, nearest(by)) for criterion, by in scores.items() if by]
        tables = [Table(title="Use of the scale", columns=columns, rows=tuple(rows), chapter="biases")] if rows else []
        if self._sums:
            columns = ("criterion", *RATINGS, "probability of a rating", "entropy, nats")
            means = [(c, *(round(v / s[-1], 4) for v in s[:-1])) for c, s in self._sums.items()]
            tables.append(
                Table(title="Mean probabilities of the ratings", columns=columns, rows=tuple(means), chapter="biases")
            )
        return tuple(tables)


def nearest(scores: Mapping[Score, int]) -> Counter[int]:
    """Rows by the nearest whole rating, halves up."""
    whole = Counter[int]()
    for score, rows in scores.items():
        whole[math.floor(score + 0.5)] += rows
    return whole


def _used(criterion: str, by: Counter[int]) -> tuple[str | int | float | None, ...]:
    n = by.total()
    shares = [by[int(r)] / n for r in RATINGS]
    entropy = -sum(s * math.log(s) for s in shares if s > 0) / math.log(len(RATINGS))
    return (criterion, *(round(s, 4) for s in shares), round(abs(entropy), 4), round(shares[-1], 4))


def scale_warnings(scores: Mapping[Criterion, Counter[Score]]) -> tuple[str, ...]:
    """Criteria by which nearly all rows have one rating."""
    told = []
    for criterion, by in scores.items():
        whole = nearest(by)
        n = whole.total()
        if n >= _FEWEST and whole and (most := whole.most_common(1)[0])[1] >= _NEARLY_ALL * n:
            told.append(f"{criterion}: {most[1]} of {n} rows are rated {most[0]}")
    return (f"The judge hardly tells rows apart ({'; '.join(told)}); see its use of the scale.",) if told else ()
