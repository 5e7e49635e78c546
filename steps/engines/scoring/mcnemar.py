"""Whether two subjects are right on different numbers of the same rows: McNemar's test, and Holm's correction."""

import math
from collections.abc import Sequence

# Chosen: what is added no more to a sum of probabilities.
_NOTHING = 1e-300


def mcnemar(only_one: int, only_other: int) -> float:
    """Two-sided p of the exact form (binomial with 1/2 over the rows on which one of the two is right, McNemar 1947);
    1 where there are none.
    """
    n, least = only_one + only_other, min(only_one, only_other)
    if only_one == only_other:
        return 1.0
    term = math.exp(math.lgamma(n + 1) - math.lgamma(least + 1) - math.lgamma(n - least + 1) - n * math.log(2))
    terms: list[float] = []
    while term > _NOTHING:
        terms.append(term)
        term *= least / (n - least + 1)
        least -= 1
    return min(1.0, 2 * math.fsum(terms))


def holm(values: Sequence[float]) -> list[float]:
    """p-values that hold together (Holm 1979), in the order given."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    adjusted, highest = [0.0] * len(values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[i]))
        adjusted[i] = highest
    return adjusted
