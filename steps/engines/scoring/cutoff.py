"""The threshold of a score above which so large a share of the rows are good ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from steps.contracts.evaluation import Estimate
from steps.engines.scoring.wilson import wilson

# Of a two-sided 95 % interval, what lies on each side.
_TAIL = 0.025


@dataclass(frozen=True)
class Cutoff:
    """Rows with this score or more are kept.

    Attributes:
        precision: good ones of those kept. recall: kept ones of the good.
        sure: whether the lower end of precision's interval reaches what is wanted.
    """

    threshold: float
    precision: Estimate
    recall: Estimate
    sure: bool


def cutoffs(good: Sequence[bool], scores: Sequence[float]) -> list[tuple[float, int, int]]:
    """Of each score that occurs, ascending: (score, rows kept at it, good ones of these)."""
    is_good, score = np.asarray(good, bool), np.asarray(scores, np.float64)
    order = np.argsort(-score, kind="stable")
    ranked, hits = score[order], np.cumsum(is_good[order])
    last = np.append(ranked[1:] != ranked[:-1], True)[: len(ranked)]
    places = np.flatnonzero(last)[::-1]
    return [(float(ranked[i]), int(i) + 1, int(hits[i])) for i in places]


def cutoff_for(good: Sequence[bool], scores: Sequence[float], wanted: float, *, sure: bool) -> Cutoff | None:
    """The lowest threshold that keeps rows of which the wanted share is good; None: there is none.

    `sure`: by the lower end of the interval, so that it isn't the luck of these rows.
    """
    of_good = int(np.sum(good))
    for threshold, kept, hits in cutoffs(good, scores):
        precision, recall = wilson(hits, kept), wilson(hits, of_good)
        if precision is None or recall is None:
            continue
        is_sure = precision.low >= wanted
        if is_sure or (not sure and precision.value >= wanted):
            return Cutoff(threshold, precision, recall, is_sure)
    return None


def clopper_pearson(successes: int, n: int) -> Estimate | None:
    """successes / n with the exact 95 % interval (Clopper and Pearson 1934), which is never too narrow; None when n is
    0.
    """
    from scipy.special import betaincinv

    if n == 0:
        return None
    low = float(betaincinv(successes, n - successes + 1, _TAIL)) if successes else 0.0
    high = float(betaincinv(successes + 1, n - successes, 1 - _TAIL)) if successes < n else 1.0
    return Estimate(value=successes / n, low=low, high=high, n=n)
