"""Names and directions of the metrics, and how a metric is computed from the per-row scores of an answers file."""

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from steps.contracts.evaluation import Estimate
from steps.engines.graders.graders import GRADERS
from steps.engines.scoring.bootstrap import Floats, Ratio, estimate_difference, estimate_ratio

# One row's scores: metric (or part of one) -> value; null where the metric does not apply to the row.
Scores: TypeAlias = dict[str, float | None]

HELD_OUT = "held_out"  # the name of the task that is the dataset's test split

# Parts that a row stores so that losses can be summed over tokens; they are no metrics themselves.
NATS, TOKENS = "nats", "tokens"
LOSS, PERPLEXITY = "loss", "perplexity"
NON_FINITE = "non_finite"
ANSWERED_UNANSWERABLE = "answered_unanswerable"

LOWER_IS_BETTER = frozenset(
    {LOSS, PERPLEXITY, NON_FINITE, *(name for name, grader in GRADERS.items() if grader.lower_is_better)}
)
# Above it exp() overflows a double (largest exponent 709.78); such a loss is treated as not finite.
LARGEST_LOSS = 700.0


def metric_names(rows: Sequence[Scores]) -> list[str]:
    """The metrics that the rows' scores give, sorted; loss and perplexity only when every row's loss is finite."""
    names = {name for row in rows for name, value in row.items() if value is not None}
    parts = {NATS, TOKENS} <= names
    names -= {NATS, TOKENS}
    if parts and not any(row.get(NON_FINITE) for row in rows):
        names |= {LOSS, PERPLEXITY}
    return sorted(names)


def estimate(metric: str, rows: Sequence[Scores]) -> Estimate | None:
    """The metric over the rows with its interval; None when it applies to no row. Rows in canonical order."""
    found = estimate_ratio(ratio_of(metric, rows))
    return _exp(found) if found is not None and metric == PERPLEXITY else found


def difference(metric: str, reference: Sequence[Scores], candidate: Sequence[Scores]) -> Estimate | None:
    """Candidate minus reference on the same rows in the same order; for perplexity the ratio candidate / reference.

    Raises:
        ValueError: the metric isn't defined on the same rows of both.
    """
    found = estimate_difference(ratio_of(metric, reference), ratio_of(metric, candidate))
    return _exp(found) if found is not None and metric == PERPLEXITY else found


def ratio_of(metric: str, rows: Sequence[Scores]) -> Ratio:
    """Per-row numerators and denominators of a metric, each of shape (len(rows),)."""
    if metric in (LOSS, PERPLEXITY):
        return Ratio(_column(NATS, rows), _column(TOKENS, rows))
    applies = [row.get(metric) is not None for row in rows]
    return Ratio(_column(metric, rows), np.array(applies, dtype=np.float64))


def _column(name: str, rows: Sequence[Scores]) -> Floats:
    """Values of one score, 0.0 where it is null."""
    return np.array([row.get(name) or 0.0 for row in rows], dtype=np.float64)


def _exp(e: Estimate) -> Estimate:
    """An estimate in nats as one of exp(nats): exp is monotone, so percentiles carry over."""
    return Estimate(value=math.exp(e.value), low=math.exp(e.low), high=math.exp(e.high), n=e.n)
