"""A judge's probabilities of the ratings, and the verdict that they come to."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steps.contracts.reports import Table
from steps.engines.rubric.asking import RATINGS
from steps.engines.rubric.case import Criterion

# Chosen: a score is told to four places, so that last bits of floating-point sums decide nothing.
_PLACES = 4
# Chosen: a rating that an empty row never gets is held for this probable, so that one bit doesn't decide.
_LEAST_PRIOR = 1e-6


@dataclass(frozen=True)
class Rating:
    """How probable each rating from 1 to 5 is, among all that the judge could say next: they add up to `mass`."""

    probabilities: tuple[float, ...]

    @property
    def mass(self) -> float:
        """Probability that the judge says a rating at all."""
        return math.fsum(self.probabilities)

    @property
    def shares(self) -> tuple[float, ...]:
        """The probabilities among the ratings alone."""
        return tuple(p / self.mass for p in self.probabilities)

    @property
    def score(self) -> float:
        """The expected rating."""
        return round(math.fsum(point * share for point, share in enumerate(self.shares, 1)), _PLACES)

    @property
    def entropy(self) -> float:
        """Of the shares, in nats: 0 is certain, ln 5 = 1.609 is no opinion."""
        return -math.fsum(share * math.log(share) for share in self.shares if share > 0)

    def without(self, prior: "Rating") -> "Rating":
        """The rating with the judge's liking for numbers taken out: each share divided by that of an empty row
        (contextual calibration, Zhao et al. 2021). The mass stays.
        """
        parts = [s / max(p, _LEAST_PRIOR) for s, p in zip(self.shares, prior.shares, strict=True)]
        return Rating(tuple(self.mass * part / math.fsum(parts) for part in parts))


def undecided(ratings: Mapping[Criterion, Rating], least_mass: float) -> tuple[str, str] | None:
    """Reason code and detail where the ratings come to no verdict: low_rating_mass, not_finite."""
    for criterion, rating in ratings.items():
        if not math.isfinite(rating.mass):
            return "not_finite", f"{criterion}: the model's scores are no numbers"
        if rating.mass < least_mass or rating.mass <= 0:
            detail = f"{criterion}: a rating is said with probability {rating.mass:.3g}, and {least_mass:g} is wanted"
            return "low_rating_mass", detail
    return None


def ratings_of(criteria: Sequence[Criterion], probabilities: Sequence[float]) -> dict[Criterion, Rating]:
    """Ratings from all their probabilities in one row, criterion by criterion."""
    each = len(probabilities) // len(criteria)
    return {c: Rating(tuple(map(float, probabilities[i * each : (i + 1) * each]))) for i, c in enumerate(criteria)}


def prior_table(priors: Mapping[Any, Mapping[Criterion, Rating] | None]) -> tuple[Table, ...]:
    """What a judge makes of rows that say nothing, by kind of row; none where none was asked about."""
    rows = [
        (str(kind), criterion, *(round(s, 4) for s in rating.shares), round(rating.mass, 4), rating.score)
        for kind, prior in priors.items()
        for criterion, rating in (prior or {}).items()
        if rating.mass > 0
    ]
    columns = ("rows", "criterion", *RATINGS, "probability of a rating", "score")
    return (Table(title="An empty row", columns=columns, rows=tuple(rows), chapter="biases"),) if rows else ()
