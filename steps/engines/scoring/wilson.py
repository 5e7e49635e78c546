"""The Wilson score interval of a proportion (Wilson 1927), which stays sensible at 0, at 1 and for small n; and that of
the difference of two of them (Newcombe 1998, method 10), which rests on it.
"""

import math

from steps.contracts.evaluation import Estimate

# Standard normal quantile of a two-sided 95 % interval.
Z95 = 1.959963984540054


def wilson(successes: int, n: int) -> Estimate | None:
    """successes / n with its 95 % interval; None when n is 0.

    It takes the n trials as independent. Where they aren't (rows of one template), it is too narrow.
    """
    if n == 0:
        return None
    share = successes / n
    centre = share + Z95**2 / (2 * n)
    spread = Z95 * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    scale = 1 + Z95**2 / n
    # At the ends rounding would leave 1e-17 where the formula gives exactly 0 or 1.
    low = 0.0 if successes == 0 else (centre - spread) / scale
    high = 1.0 if successes == n else (centre + spread) / scale
    return Estimate(value=share, low=low, high=high, n=n)


def newcombe(reference: Estimate | None, other: Estimate | None) -> Estimate | None:
    """other - reference, of independent rows, with its 95 % interval from those of both; None where one is None.
    `n` counts the rows of both.
    """
    if reference is None or other is None:
        return None
    change = other.value - reference.value
    down = math.hypot(other.value - other.low, reference.high - reference.value)
    up = math.hypot(other.high - other.value, reference.value - reference.low)
    return Estimate(value=change, low=change - down, high=change + up, n=reference.n + other.n)
