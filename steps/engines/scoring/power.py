"""Which differences so many rows can show: beforehand by an assumption, afterwards by what was measured.

A gain is seen where the lower end of its 95 % interval lies above what is required. Of gains of the size that is told
here four in five are seen (power 0.8, Cohen 1988); of smaller ones fewer.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from steps.contracts.evaluation import Estimate
from steps.engines.scoring.wilson import Z95

# Standard normal quantile of 0.8.
Z_POWER = 0.8416212335729143
_POWER, _WITHIN = 0.8, 0.95
# Chosen: of more rows the normal distribution says the same to two digits. Halvings: to a billionth.
_FEW, _HALVINGS = 2_000, 30
_Z = Z95 + Z_POWER
# Chosen: of a paired change of values between 0 and 1 (ROUGE-L, shares of fields) before anything is measured. Changes
# that are uniform from -0.5 to 0.5 have 0.29.
ASSUMED_SD = 0.3


def least_gain_of_share(n: int, worse: float = 0.0, margin: float = 0.0) -> float:
    """The smallest gain of a share of rows that n rows show, at most 1.

    `worse`: share of the rows that are right before and wrong afterwards. A gain g then has g + worse rows that become
    right, and a paired variance of g + 2 worse - g^2. Where none gets worse and n is small, few rows decide, and the
    binomial distribution is taken as it is. `margin`: what the gain must lie above.
    """
    if worse == 0 and n <= _FEW:
        return _of_few(n, margin)
    a, b = n + _Z**2, 2 * margin * n + _Z**2
    c = n * margin**2 - 2 * worse * _Z**2
    return min(1.0, (b + math.sqrt(b**2 - 4 * a * c)) / (2 * a))


def _of_few(n: int, margin: float) -> float:
    """Of so many rows that get better at least, that 0 stands in no more than 1 in 40 resamples, four in five times."""
    most = math.floor(margin * n)
    needed = _first(most + 1, n, lambda k: _at_most(most, n, k / n) < (1 - _WITHIN) / 2)
    if needed is None:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if 1 - _at_most(needed - 1, n, middle) >= _POWER else (middle, high)
    return high


def _first(low: int, high: int, holds: Callable[[int], bool]) -> int | None:
    """The smallest number of a range from which on it holds; None: it never does."""
    if low > high or not holds(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def _at_most(k: int, n: int, p: float) -> float:
    """P(X <= k) of a binomial distribution."""
    if p <= 0 or p >= 1:
        return float(p <= 0 or k >= n)
    i = np.arange(k + 1)
    logs = _log_factorial(n) - np.array([_log_factorial(j) + _log_factorial(n - j) for j in range(k + 1)])
    return float(np.exp(logs + i * math.log(p) + (n - i) * math.log1p(-p)).sum())


def _log_factorial(n: int) -> float:
    return math.lgamma(n + 1)


def least_gain(n: int, sd: float = ASSUMED_SD, margin: float = 0.0) -> float:
    """The smallest gain in the mean that n rows show whose paired changes have the standard deviation `sd`."""
    return margin + _Z * sd / math.sqrt(n)


def measured_gain(reference: Sequence[float], candidate: Sequence[float]) -> float | None:
    """The smallest change of the mean that these rows show, by the variance of their paired changes; None: it is 0, or
    there is one row.
    """
    changes = np.asarray(candidate) - np.asarray(reference)
    if len(changes) < 2:
        return None
    sd = float(changes.std(ddof=1))
    return least_gain(len(changes), sd) if sd > 0 else None


def gain_of_interval(change: Estimate) -> float | None:
    """The same of what is no mean of rows, by the width of its bootstrap interval; None: it has none."""
    half = (change.high - change.low) / 2
    return _Z / Z95 * half if half > 0 else None
