"""Whether two samples come from one distribution: PSI, MMD, Fisher's test; p-values by permutation, corrected by Holm.

All of it is a function of counts or of sums over pairs, so that the order of the rows changes nothing; what is drawn
depends on the seed alone.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from steps.contracts.arrays import Numbers

Floats = npt.NDArray[np.float64]
# Standard normal quantile of a two-sided 95 % interval.
_Z95 = 1.959963984540054
# Relative: tables that are as likely as the one that was seen, but for rounding.
_SAME = 1e-7


def psi(expected: Numbers, actual: Numbers) -> float:
    """Population stability index of two rows of counts, shape (bins,): sum of (a - e) * ln(a / e) over shares.

    Half a row is added to every bin (Jeffreys' prior), so that an empty one gives no infinity. Both must count
    something.
    """
    return float(_psis(expected[None], actual[None])[0])


def _psis(expected: Numbers, actual: Numbers) -> Floats:
    """The same of many tables: shape (tables, bins) each to (tables,)."""
    e, a = (_shares(counts) for counts in (expected, actual))
    return np.asarray(((a - e) * np.log(a / e)).sum(axis=1))


def _shares(counts: Numbers) -> Floats:
    smoothed = counts + 0.5
    return np.asarray(smoothed / smoothed.sum(axis=1, keepdims=True))


def psi_test(expected: Numbers, actual: Numbers, permutations: int, seed: int) -> tuple[float, float]:
    """PSI and its p-value: how often it is as large when the rows of both are dealt out anew.

    How many rows of each bin one side then has is multivariate hypergeometric: only counts are drawn, no rows.
    """
    found, pooled = psi(expected, actual), expected + actual
    dealt = np.random.default_rng(seed).multivariate_hypergeometric(
        pooled, int(actual.sum()), size=permutations, method="marginals"
    )
    as_large = int((_psis(pooled - dealt, dealt) >= found * (1 - 1e-12)).sum())
    return found, (1 + as_large) / (1 + permutations)


def mmd_test(x: Floats, y: Floats, permutations: int, seed: int) -> tuple[float, float]:
    """Squared maximum mean discrepancy of two samples of vectors, shapes (n, d) and (m, d), n, m >= 2, and its p-value.

    Gretton et al. 2012, "A kernel two-sample test": the unbiased estimate under a Gaussian kernel whose width is the
    median distance of the pooled sample, its p-value by permuting the pooled rows.
    """
    kernel = _gaussian(np.concatenate([x, y]))
    n, m = len(x), len(y)
    labels = np.zeros((permutations + 1, n + m))
    labels[0, :n] = 1
    rng = np.random.default_rng(seed)
    for row in labels[1:]:
        row[rng.permutation(n + m)[:n]] = 1
    found = _mmds(kernel, labels, n, m)
    as_large = int((found[1:] >= found[0] - 1e-12).sum())
    return float(found[0]), (1 + as_large) / (1 + permutations)


def _gaussian(points: Floats) -> Floats:
    """Kernel of all pairs, shape (n, n), zero on the diagonal: the unbiased estimate leaves it out."""
    squares = (points * points).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares[None] - 2 * points @ points.T, 0)
    above = distances[np.triu_indices(len(points), 1)]
    # Texts that are all alike have no width.
    width = float(np.median(above)) or 1.0
    kernel = np.exp(-distances / width)
    np.fill_diagonal(kernel, 0)
    return np.asarray(kernel)


def _mmds(kernel: Floats, labels: Floats, n: int, m: int) -> Floats:
    """Of each row of labels (1: of the first sample)."""
    within = ((labels @ kernel) * labels).sum(axis=1)
    total, of_row = kernel.sum(), kernel.sum(axis=1)
    across = labels @ of_row - within
    other = total - within - 2 * across
    return np.asarray(within / (n * (n - 1)) + other / (m * (m - 1)) - 2 * across / (n * m))


def fisher(expected: tuple[int, int], actual: tuple[int, int], *, more: bool = False) -> float:
    """Fisher's exact test of two shares, each (rows that have it, rows): two-sided, or with `more` whether `actual` has
    more of it than `expected`.
    """
    (e, n), (a, m) = expected, actual
    have = e + a
    low, high = max(0, have - n), min(have, m)
    logs = [_choose(m, k) + _choose(n, have - k) - _choose(n + m, have) for k in range(low, high + 1)]
    seen = logs[a - low]
    counted = logs[a - low :] if more else [p for p in logs if p <= seen + _SAME]
    return min(1.0, math.fsum(math.exp(p) for p in counted))


def _choose(n: int, k: int) -> float:
    """Logarithm of the binomial coefficient."""
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def quantile_interval(values: Sequence[float], quantile: float) -> tuple[float, float, float]:
    """A quantile with its 95 % interval by order statistics (ranks by the normal approximation of the binomial; free of
    any distribution): (value, low, high). `values` must not be empty. Where the sample is too small for a bound, its
    smallest or largest value stands there.
    """
    ordered = sorted(values)
    n = len(ordered)
    centre, spread = n * quantile, _Z95 * math.sqrt(n * quantile * (1 - quantile))
    low, high = math.floor(centre - spread), math.ceil(centre + spread) + 1
    at = max(math.ceil(centre), 1)
    return ordered[at - 1], ordered[max(low, 1) - 1], ordered[min(high, n) - 1]


def bins_of(values: Sequence[float], number: int) -> list[float]:
    """Inner edges of up to `number` bins that hold equally many of these values, ascending, without equal ones."""
    ordered = sorted(values)
    edges = {ordered[min(len(ordered) * i // number, len(ordered) - 1)] for i in range(1, number)}
    return sorted(edges)


def counted(values: Sequence[float], edges: Sequence[float]) -> Numbers:
    """How many values each bin holds: those below the first edge, from edge to edge, from the last one on."""
    places = np.searchsorted(np.asarray(edges, np.float64), np.asarray(values, np.float64), side="right")
    return np.bincount(places, minlength=len(edges) + 1).astype(np.int64)
