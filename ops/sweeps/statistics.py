"""Losses of trials with intervals, over the validation rows that all of them were measured on.

A loss is a mean over tokens, of which a row has several that go together: so rows are what varies, and the standard
error is that of a ratio of sums (Cochran, Sampling Techniques, 3rd ed., section 6.4). Trials are compared pair by pair
on the same rows. Where several are, each interval is widened so that all of them hold together in 95 of 100 sweeps
(Bonferroni): whoever looks at twenty trials finds one that is better by chance. Of few rows the spread isn't known
well either: quantiles are Student's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_LEVEL = 0.95
# Chosen: of fewer rows nothing is said; the quantile's series is good to 1 % from here on (tests compare it).
_FEWEST = 5


@dataclass(frozen=True)
class Rows:
    """What a trial's model loses on each validation row. `digest`: of which rows these are.

    Attributes:
        losses: nats of all trained tokens of a row; tokens: how many these are. Shape (rows,).
        ids: by which rows of several trials are known to be the same, one per row; empty: they aren't known.
    """

    losses: Floats
    tokens: Floats
    digest: str
    ids: tuple[str, ...] = ()

    @classmethod
    def of(cls, pairs: Sequence[Sequence[float]], digest: str, ids: Sequence[str] = ()) -> "Rows":
        """From (nats, tokens) per row."""
        found = np.array(pairs, np.float64).reshape(-1, 2)
        return cls(found[:, 0], found[:, 1], digest, tuple(ids) if len(ids) == len(found) else ())

    @property
    def mean(self) -> float:
        """Nats per token."""
        return float(self.losses.sum() / self.tokens.sum())


def on_common(trials: Sequence[Rows]) -> list[Rows] | None:
    """The trials on the validation rows that all of them have; None: these are fewer than two, or aren't known."""
    if len({t.digest for t in trials}) <= 1:
        return list(trials)
    if not all(t.ids for t in trials):
        return None
    places = [_places(t.ids) for t in trials]
    common = [key for key in places[0] if all(key in others for others in places[1:])]
    if len(common) < 2:
        return None
    digest, chosen = f"{len(common)} common ones", [[p[key] for key in common] for p in places]
    return [Rows(t.losses[at], t.tokens[at], digest) for t, at in zip(trials, chosen, strict=True)]


def _places(ids: Sequence[str]) -> dict[tuple[str, int], int]:
    """Where each row is; of several of the same id the first of one trial is the first of the others."""
    seen: dict[str, int] = {}
    found = {}
    for place, key in enumerate(ids):
        seen[key] = seen.get(key, 0) + 1
        found[key, seen[key]] = place
    return found


@dataclass(frozen=True)
class Interval:
    """A value with its bounds, over so many rows; infinite where these are fewer than five."""

    value: float
    low: float
    high: float
    n: int

    @property
    def known(self) -> bool:
        """Whether there are bounds."""
        return math.isfinite(self.low)

    @property
    def above(self) -> bool:
        """Whether all of it lies above 0."""
        return self.low > 0

    @property
    def below(self) -> bool:
        """Whether all of it lies below 0."""
        return self.high < 0


def loss_of(rows: Rows) -> Interval:
    """The loss of one trial, by itself."""
    return _ratio(rows.losses, rows.tokens, 1)


def difference(trial: Rows, reference: Rows, comparisons: int) -> Interval | None:
    """How much more a trial loses than the reference; None: they were measured on different rows.

    Args:
        comparisons: that are looked at together.
    """
    if trial.digest != reference.digest or len(trial.losses) != len(reference.losses):
        return None
    return _ratio(trial.losses - reference.losses, reference.tokens, comparisons)


def _ratio(sums: Floats, counts: Floats, comparisons: int) -> Interval:
    n = len(sums)
    value = float(sums.sum() / counts.sum())
    if n < _FEWEST:
        return Interval(value, -math.inf, math.inf, n)
    spread = math.sqrt(float(np.square(sums - value * counts).sum()) * n / (n - 1)) / float(counts.sum())
    wide = student(1 - (1 - _LEVEL) / (2 * max(comparisons, 1)), n - 1) * spread
    return Interval(value, value - wide, value + wide, n)


def student(share: float, freedom: int) -> float:
    """Student's quantile, by its expansion around the normal one (Abramowitz and Stegun, 26.7.5)."""
    z = NormalDist().inv_cdf(share)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / float(freedom) ** power for power, term in enumerate(terms, 1))
