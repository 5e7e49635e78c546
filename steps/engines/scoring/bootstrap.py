"""Percentile bootstrap over rows, for means and for ratios of sums, alone and paired."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from steps.contracts.evaluation import Estimate

Floats = npt.NDArray[np.float64]

# Chosen: for a near-normal statistic the Monte Carlo error of each end is then about 1.5 % of the interval's width.
RESAMPLES = 2_000
# Chosen; fixed, so that the same rows always give the same interval.
SEED = 0
# Chosen: resamples are drawn in blocks of at most this many row numbers (16 MB of int64), whatever n is.
_BLOCK_DRAWS = 2_000_000
_PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True)
class Ratio:
    """Per-row parts of a ratio of sums, both of shape (n,), in a canonical row order.

    A mean has the values as `numerator` and ones as `denominator`; a loss per token has nats and tokens. A row
    with denominator 0 takes no part.
    """

    numerator: Floats
    denominator: Floats


def estimate_ratio(ratio: Ratio) -> Estimate | None:
    """sum(numerator) / sum(denominator) with its 95 % interval over rows; None when no row takes part.

    When all rows are equal, every resample is too and the interval has width 0, which says nothing about rows that
    weren't seen: see `metrics.estimate`.
    """
    used = ratio.denominator > 0
    if not used.any():
        return None
    top, bottom = ratio.numerator[used], ratio.denominator[used]
    drawn = np.concatenate([top[i].sum(1) / bottom[i].sum(1) for i in draws(len(top))])
    return estimate_of(top.sum() / bottom.sum(), drawn, len(top))


def estimate_difference(reference: Ratio, candidate: Ratio) -> Estimate | None:
    """Candidate minus reference of the two ratios, resampling the same rows for both; None when no row takes part.

    Raises:
        ValueError: the two sides aren't defined on the same rows.
    """
    used = reference.denominator > 0
    if not np.array_equal(used, candidate.denominator > 0):
        raise ValueError("reference and candidate are not defined on the same rows")
    if not used.any():
        return None
    sides = [(r.numerator[used], r.denominator[used]) for r in (candidate, reference)]
    (new_top, new_bottom), (old_top, old_bottom) = sides
    drawn = np.concatenate(
        [
            new_top[i].sum(1) / new_bottom[i].sum(1) - old_top[i].sum(1) / old_bottom[i].sum(1)
            for i in draws(len(new_top))
        ]
    )
    return estimate_of(new_top.sum() / new_bottom.sum() - old_top.sum() / old_bottom.sum(), drawn, len(new_top))


def draws(n: int) -> Iterator[npt.NDArray[np.int64]]:
    """RESAMPLES draws of n row numbers with replacement, in blocks of shape (k, n)."""
    generator = np.random.default_rng(SEED)
    block = max(1, min(RESAMPLES, _BLOCK_DRAWS // n))
    for start in range(0, RESAMPLES, block):
        yield generator.integers(n, size=(min(block, RESAMPLES - start), n))


def estimate_of(value: np.floating, drawn: Floats, n: int) -> Estimate:
    """A value with the percentiles of what resamples gave."""
    low, high = np.percentile(drawn, _PERCENTILES)
    return Estimate(value=float(value), low=float(low), high=float(high), n=n)
