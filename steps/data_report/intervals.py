"""Figures of one or two data sets, with intervals: shares by Wilson's and Newcombe's, the rest by bootstrap.

What is resampled is how often each value occurs, not rows: a million rows with twenty scores cost what twenty do.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from steps.contracts.data_report import Chapter, Figure
from steps.contracts.evaluation import Estimate
from steps.engines.scoring.bootstrap import RESAMPLES, SEED, estimate_of
from steps.engines.scoring.wilson import newcombe, wilson

Floats: TypeAlias = npt.NDArray[np.float64]
# (distinct values, ascending, shape (u,); weights of them in each resample, shape (k, u)) -> statistic, shape (k,)
Statistic: TypeAlias = Callable[[Floats, Floats], Floats]
# Chosen: 32 MB of weights at a time.
_BLOCK = 4_000_000


def share(
    chapter: Chapter, name: str, counts: Sequence[tuple[int, int]], by: str, *, of: str = "rows",
    higher: bool | None = None,
) -> Figure:  # fmt: skip
    """Of each data set (rows that have it, rows)."""
    values = tuple(wilson(k, n) for k, n in counts)
    difference = newcombe(*values) if len(values) == 2 else None
    return Figure(chapter=chapter, name=name, values=values, difference=difference, by=by, of=of, higher=higher)


def number(
    chapter: Chapter, name: str, found: Sequence[Floats], statistic: Statistic, by: str, *, unit: str = "",
    of: str = "rows", higher: bool | None = None, bounds: tuple[float, float] | None = None,
) -> Figure:  # fmt: skip
    """Of each data set a statistic of its values, shape (n,). `bounds`: the least and the greatest possible value:
    where all values are equal, as many as Wilson's bound of 0 of n says may be one of these.
    """
    drawn = [_resampled(values, statistic, SEED + i) for i, values in enumerate(found)]
    made = measured(chapter, name, drawn, by, unit=unit, of=of, higher=higher)
    if bounds is None or all(v is None or v.high > v.low for v in made.values):
        return made
    values = tuple(v and _with_unseen(v, *bounds) for v in made.values)
    # Newcombe's way to a difference holds for intervals of any kind.
    difference = newcombe(*values) if len(values) == 2 else None
    return made.model_copy(update={"values": values, "difference": difference})


def _with_unseen(found: Estimate, lowest: float, highest: float) -> Estimate:
    none = wilson(0, found.n)
    if none is None or found.high > found.low:
        return found
    low, high = (found.value + (end - found.value) * none.high for end in (lowest, highest))
    return Estimate(value=found.value, low=low, high=high, n=found.n)


def measured(
    chapter: Chapter, name: str, drawn: Sequence[tuple[float, Floats, int] | None], by: str, *, unit: str = "",
    of: str = "rows", higher: bool | None = None,
) -> Figure:  # fmt: skip
    """Of each data set a value, what its resamples gave, and how many things it is of; None: there is nothing."""
    values = tuple(None if d is None else estimate_of(np.float64(d[0]), d[1], d[2]) for d in drawn)
    difference = None
    if len(drawn) == 2 and drawn[0] is not None and drawn[1] is not None:
        (a, some, n), (b, others, m) = drawn[0], drawn[1]
        difference = estimate_of(np.float64(b - a), others - some, n + m)
    return Figure(
        chapter=chapter, name=name, kind="number", unit=unit, values=values, difference=difference, by=by, of=of,
        higher=higher,
    )  # fmt: skip


def _resampled(values: Floats, statistic: Statistic, seed: int) -> tuple[float, Floats, int] | None:
    if not len(values):
        return None
    distinct, counts = np.unique(values, return_counts=True)
    value = float(statistic(distinct, counts[None].astype(np.float64))[0])
    return value, drawn_by(counts.astype(np.float64), lambda w: statistic(distinct, w), seed), len(values)


def drawn_by(counts: Floats, of_weights: Callable[[Floats], Floats], seed: int) -> Floats:
    """A statistic of resamples, shape (RESAMPLES,): each draws as many as there are, by these counts, shape (u,)."""
    generator, n = np.random.default_rng(seed), int(counts.sum())
    block = max(1, min(RESAMPLES, _BLOCK // len(counts)))
    shares, parts = counts / counts.sum(), list[Floats]()
    for start in range(0, RESAMPLES, block):
        weights = generator.multinomial(n, shares, size=min(block, RESAMPLES - start))
        parts.append(of_weights(weights.astype(np.float64)))
    return np.concatenate(parts)


def mean(values: Floats, weights: Floats) -> Floats:
    """Means."""
    return np.asarray(weights @ values / weights.sum(axis=1))


def quantile(share: float) -> Statistic:
    """The smallest value that so large a share of the values doesn't exceed."""

    def of(values: Floats, weights: Floats) -> Floats:
        reached = np.cumsum(weights, axis=1) >= share * weights.sum(axis=1, keepdims=True) - 1e-9
        return np.asarray(values[reached.argmax(axis=1)])

    return of
