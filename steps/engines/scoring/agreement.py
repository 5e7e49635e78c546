"""How far two ratings of the same rows agree: functions of the table that counts how often each pair of ratings stands.

Every function takes counts of shape (..., A, B), rows by the first rating and columns by the second, and gives an array
of shape (...): NaN where the figure isn't defined (a rating that is always the same). Thousands of resamples are one
array then.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from steps.contracts.evaluation import Estimate
from steps.engines.scoring.bootstrap import RESAMPLES, SEED, Floats
from steps.engines.scoring.wilson import wilson

Weights: TypeAlias = Literal["none", "linear", "quadratic"]
Statistic: TypeAlias = Callable[[Floats], Floats]

# Chosen: counts that are held at once (16 MB).
_BLOCK = 2_000_000
_PERCENTILES = (2.5, 97.5)
# Resamples of equal values differ by rounding only.
_NO_WIDTH = 1e-9
# Chosen: a figure that fewer resamples than this share have is given without an interval.
_ENOUGH = 0.5


@dataclass(frozen=True)
class Crossed:
    """Two ratings of n rows. `first` and `second` are the values that occur, ascending; counts has shape
    (len(first), len(second)).
    """

    first: Floats
    second: Floats
    counts: Floats

    @classmethod
    def of(cls, first: npt.ArrayLike, second: npt.ArrayLike, scale: npt.ArrayLike = ()) -> Self:
        """The table of paired ratings. `scale`: values that both have a place for, whether they occur or not, so that
        the table is square where all ratings are of it.
        """
        a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
        if len(a) != len(b):
            raise ValueError("ratings of different numbers of rows")
        levels_a, levels_b = np.union1d(a, scale), np.union1d(b, scale)
        cells = np.searchsorted(levels_a, a) * len(levels_b) + np.searchsorted(levels_b, b)
        counts = np.bincount(cells, minlength=len(levels_a) * len(levels_b)).astype(np.float64)
        return cls(levels_a, levels_b, counts.reshape(len(levels_a), len(levels_b)))

    @property
    def n(self) -> int:
        """Rows."""
        return int(self.counts.sum())

    def estimate(self, statistic: Statistic, lowest: float) -> Estimate | None:
        """The figure with its 95 % interval by a seeded bootstrap over rows; None where it isn't defined.

        `lowest`: the least value that it can have (the highest is 1). Where all resamples are alike the interval is as
        wide as Wilson's of none of n, since rows that weren't seen may be otherwise.
        """
        if not self.n or math.isnan(value := float(statistic(self.counts))):
            return None
        drawn = np.concatenate([statistic(c) for c in self._resamples()])
        drawn = drawn[~np.isnan(drawn)]
        if len(drawn) < _ENOUGH * RESAMPLES:
            return Estimate(value=value, low=lowest, high=1.0, n=self.n)
        low, high = (float(p) for p in np.percentile(drawn, _PERCENTILES))
        if high - low < _NO_WIDTH and (none := wilson(0, self.n)) is not None:
            low, high = value - (value - lowest) * none.high, value + (1.0 - value) * none.high
        return Estimate(value=value, low=low, high=high, n=self.n)

    def _resamples(self) -> list[Floats]:
        """RESAMPLES tables of n rows drawn with replacement, in blocks of shape (k, A, B)."""
        generator = np.random.default_rng(SEED)
        shares = self.counts.ravel() / self.n
        block = max(1, min(RESAMPLES, _BLOCK // len(shares)))
        sizes = [min(block, RESAMPLES - start) for start in range(0, RESAMPLES, block)]
        drawn = (generator.multinomial(self.n, shares, k).astype(np.float64) for k in sizes)
        return [tables.reshape(-1, *self.counts.shape) for tables in drawn]


def agreement(counts: Floats) -> Floats:
    """The share of rows on which both say the same; of a square table."""
    return _over(np.trace(counts, axis1=-2, axis2=-1), counts.sum((-2, -1)))


def kappa(weights: Weights, scale: Floats) -> Statistic:
    """Cohen's kappa (1960; weighted: 1968) of square tables over the values of `scale`, whose distances are weighed."""
    apart = np.abs(scale[:, None] - scale[None, :])
    cost = {"none": (apart > 0).astype(np.float64), "linear": apart, "quadratic": apart**2}[weights]

    def of(counts: Floats) -> Floats:
        by_chance = _expected(counts)
        return 1.0 - _over((cost * counts).sum((-2, -1)), (cost * by_chance).sum((-2, -1)))

    return of


def spearman(counts: Floats) -> Floats:
    """Spearman's rank correlation, equal values with their mean rank."""
    a, b = centred_ranks(counts.sum(-1)), centred_ranks(counts.sum(-2))
    together = (counts * a[..., :, None] * b[..., None, :]).sum((-2, -1))
    spread_a, spread_b = (counts.sum(-1) * a**2).sum(-1), (counts.sum(-2) * b**2).sum(-1)
    return _over(together, np.sqrt(spread_a * spread_b))


def kendall(counts: Floats) -> Floats:
    """Kendall's tau-b (1945), which takes ties into account."""
    n = counts.sum((-2, -1))
    greater, less = _beyond(counts, reverse=False), _beyond(counts, reverse=True)
    difference = (counts * (greater - less)).sum((-2, -1))
    pairs = n * (n - 1) / 2
    tied_a, tied_b = (((m * (m - 1)) / 2).sum(-1) for m in (counts.sum(-1), counts.sum(-2)))
    return _over(difference, np.sqrt((pairs - tied_a) * (pairs - tied_b)))


def auroc(counts: Floats) -> Floats:
    """The chance that a row of the second line of the table (2, B) is rated above one of the first, equal ones by half
    (Mann and Whitney 1947).
    """
    below = np.cumsum(counts[..., 0, :], -1) - counts[..., 0, :] / 2
    wins = (counts[..., 1, :] * below).sum(-1)
    return _over(wins, counts[..., 0, :].sum(-1) * counts[..., 1, :].sum(-1))


def _expected(counts: Floats) -> Floats:
    of_all = counts.sum((-2, -1))[..., None, None]
    product = counts.sum(-1)[..., :, None] * counts.sum(-2)[..., None, :]
    return _over(product, np.broadcast_to(of_all, product.shape))


def centred_ranks(margin: Floats) -> Floats:
    """Mean rank of each value less the mean of all ranks."""
    ranks = np.cumsum(margin, -1) - margin + (margin + 1) / 2
    centred: Floats = ranks - (margin.sum(-1, keepdims=True) + 1) / 2
    return centred


def _beyond(counts: Floats, *, reverse: bool) -> Floats:
    """Of each cell, how many rows are above it in the first rating and above (reverse: below) it in the second."""
    table = counts[..., ::-1] if reverse else counts
    above = np.zeros_like(table)
    sums = table[..., ::-1, ::-1].cumsum(-1).cumsum(-2)[..., ::-1, ::-1]
    above[..., :-1, :-1] = sums[..., 1:, 1:]
    found: Floats = above[..., ::-1] if reverse else above
    return found


def _over(top: npt.ArrayLike, bottom: npt.ArrayLike) -> Floats:
    """top / bottom, NaN where bottom is 0."""
    over, under = np.asarray(top, np.float64), np.asarray(bottom, np.float64)
    # What rounding leaves of a spread that is 0 is no spread.
    found: Floats = np.divide(over, under, out=np.full(over.shape, np.nan), where=under > 0)
    return found
