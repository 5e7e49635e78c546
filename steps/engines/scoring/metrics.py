"""Names and directions of the metrics, and how a metric is computed from the per-row scores of an answers file."""

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from steps.contracts.evaluation import Estimate
from steps.engines.graders.classes import WRONG
from steps.engines.graders.degeneration import NAMES as DEGENERATION
from steps.engines.graders.facts import NEAR_MISS
from steps.engines.graders.graders import GRADERS
from steps.engines.graders.labels import FOUND, WANTED
from steps.engines.graders.leaks import CANARY_LEAKED, LEAKED
from steps.engines.graders.pairs import ABSOLUTE_GAP, DIFFER, GAP
from steps.engines.graders.refusals import OVER_REFUSED
from steps.engines.scoring.bootstrap import Floats, Ratio, estimate_difference, estimate_ratio
from steps.engines.scoring.macro import Labelled, macro_difference, macro_estimate
from steps.engines.scoring.wilson import wilson

# One row's scores: metric (or part of one) -> value; null where the metric does not apply to the row.
Scores: TypeAlias = dict[str, float | None]

HELD_OUT = "held_out"  # the name of the task that is the dataset's test split

# Parts that a row stores so that losses can be summed over tokens; they are no metrics themselves.
NATS, TOKENS = "nats", "tokens"
PARTS = frozenset({NATS, TOKENS})
# F1 per label, its mean over the labels; made of what was wanted and found in each row.
MACRO_F1 = "macro_f1"
LOSS, PERPLEXITY = "loss", "perplexity"
NON_FINITE = "non_finite"
# The share of pairs of which the chosen answer is preferred.
PREFERENCE_ACCURACY = "preference_accuracy"
ANSWERED_UNANSWERABLE = "answered_unanswerable"

# The share of documents that are gone on with in a loop or by nothing.
DEGENERATE_CONTINUATION = "degenerate_continuation"

LOWER_IS_BETTER = frozenset(
    {
        *(LOSS, PERPLEXITY, NON_FINITE, DEGENERATE_CONTINUATION),
        *(WRONG, NEAR_MISS, OVER_REFUSED, ABSOLUTE_GAP, DIFFER),
        *(LEAKED, f"{LEAKED}_exact", f"{LEAKED}_paraphrased", CANARY_LEAKED),
        *DEGENERATION,
        *(name for name, grader in GRADERS.items() if grader.lower_is_better),
    }
)
# Neither more nor less of them is good: 0 is.
NEUTRAL = frozenset({GAP})
# All others are means of values from 0 to 1; those with a sign from -1.
_UNBOUNDED = frozenset({LOSS, PERPLEXITY})
# Not every answer has them: a judge may not decide. Two subjects are compared where both have them.
UNDECIDED = frozenset({"judged", "similarity"})
# Resamples of equal values differ by rounding only.
_NO_WIDTH = 1e-9
# Above it exp() overflows a double (largest exponent 709.78); such a loss is treated as not finite.
LARGEST_LOSS = 700.0


def metric_names(rows: Sequence[Scores]) -> list[str]:
    """The metrics that the rows' scores give, sorted; loss and perplexity only when every row's loss is finite."""
    names = {name for row in rows for name, value in row.items() if value is not None}
    parts = names >= PARTS
    labelled = names >= {WANTED, FOUND}
    names -= {*PARTS, WANTED, FOUND}
    names |= {MACRO_F1} if labelled else set()
    if parts and not any(row.get(NON_FINITE) for row in rows):
        names |= {LOSS, PERPLEXITY}
    return sorted(names)


def estimate(metric: str, rows: Sequence[Scores]) -> Estimate | None:
    """The metric over the rows with its interval; None when it applies to no row. Rows in canonical order.

    A share of rows (each value 0 or 1) has Wilson's interval, everything else that of the bootstrap.
    """
    if metric == MACRO_F1:
        labelled = _labelled(rows)
        return _with_unseen(macro_estimate(labelled), lowest=0.0) if labelled.n else None
    values = [v for row in rows if (v := row.get(metric)) is not None]
    if metric not in _UNBOUNDED | NEUTRAL and all(v in (0.0, 1.0) for v in values):
        return wilson(round(sum(values)), len(values))
    found = estimate_ratio(ratio_of(metric, rows))
    if found is None or metric == LOSS:
        return found
    return _exp(found) if metric == PERPLEXITY else _with_unseen(found, lowest=-1.0 if metric in NEUTRAL else 0.0)


def difference(metric: str, reference: Sequence[Scores], candidate: Sequence[Scores]) -> Estimate | None:
    """Candidate minus reference on the same rows in the same order; for perplexity the ratio candidate / reference.

    None: no row has it, or, of what not every answer has, none of both.

    Raises:
        ValueError: the metric isn't defined on the same rows of both.
    """
    if metric == MACRO_F1:
        return _with_unseen(macro_difference(_labelled(reference), _labelled(candidate)), lowest=-1.0)
    if metric in UNDECIDED:
        pairs = zip(reference, candidate, strict=True)
        both = [pair for pair in pairs if all(side.get(metric) is not None for side in pair)]
        reference, candidate = [one for one, _ in both], [other for _, other in both]
    found = estimate_difference(ratio_of(metric, reference), ratio_of(metric, candidate))
    if found is None or metric == LOSS:
        return found
    return _exp(found) if metric == PERPLEXITY else _with_unseen(found, lowest=-1.0)


def ratio_of(metric: str, rows: Sequence[Scores]) -> Ratio:
    """Per-row numerators and denominators of a metric, each of shape (len(rows),)."""
    if metric in (LOSS, PERPLEXITY):
        return Ratio(_column(NATS, rows), _column(TOKENS, rows))
    applies = [row.get(metric) is not None for row in rows]
    return Ratio(_column(metric, rows), np.array(applies, dtype=np.float64))


def _labelled(rows: Sequence[Scores]) -> Labelled:
    used = [row for row in rows if row.get(WANTED) is not None]
    return Labelled(_column(WANTED, used), _column(FOUND, used))


def _with_unseen(found: Estimate, lowest: float) -> Estimate:
    """Where every row says the same, a bootstrap's interval has no width: a share of rows as Wilson's upper bound of
    0 of n may be otherwise, the lowest value or the highest (1).
    """
    none = wilson(0, found.n)
    if none is None or found.high - found.low > _NO_WIDTH:
        return found
    low = found.value - (found.value - lowest) * none.high
    high = found.value + (1.0 - found.value) * none.high
    return Estimate(value=found.value, low=low, high=high, n=found.n)


def _column(name: str, rows: Sequence[Scores]) -> Floats:
    """Values of one score, 0.0 where it is null."""
    return np.array([row.get(name) or 0.0 for row in rows], dtype=np.float64)


def _exp(e: Estimate) -> Estimate:
    """An estimate in nats as one of exp(nats): exp is monotone, so percentiles carry over."""
    return Estimate(value=math.exp(e.value), low=math.exp(e.low), high=math.exp(e.high), n=e.n)
