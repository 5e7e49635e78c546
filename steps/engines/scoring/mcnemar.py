"""Whether two subjects are right on different numbers of the same rows: McNemar's test, and Holm's correction."""

import math
from collections.abc import Sequence


def mcnemar(only_one: int, only_other: int) -> float:
    """Two-sided p of the exact form (binomial with 1/2 over the rows on which one of the two is right, McNemar 1947);
    1 where there are none.
    """
    n, least = only_one + only_other, min(only_one, only_other)
    if only_one == only_other:
        return 1.0
    # Sums of whole numbers: exact, for any n.
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(least + 1)) / (1 << n))


def holm(values: Sequence[float]) -> list[float]:
    """p-values that hold together (Holm 1979), in the order given."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    adjusted, highest = [0.0] * len(values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[i]))
        adjusted[i] = highest
    return adjusted
