"""The Wilson interval against the equation that defines it."""

import math

import pytest

from steps.engines.scoring.wilson import Z95, wilson


@pytest.mark.parametrize(("successes", "n"), [(1, 10), (9, 10), (5, 10), (30, 10_000), (1, 2)])
def test_the_ends_solve_the_score_equation(successes: int, n: int) -> None:
    found = wilson(successes, n)
    assert found is not None
    # The interval is all p whose distance to the observed share is at most Z95 standard errors under p.
    for p in (found.low, found.high):
        assert abs(successes / n - p) == pytest.approx(Z95 * math.sqrt(p * (1 - p) / n), rel=1e-9)
    assert found.low < found.value < found.high


def test_the_extremes() -> None:
    none, every = wilson(0, 20), wilson(20, 20)
    assert none and every and wilson(0, 0) is None
    assert (none.low, every.high) == (0.0, 1.0)
    assert none.high == pytest.approx(1 - every.low) == pytest.approx(Z95**2 / (20 + Z95**2))


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # Newcombe 1998 (Statistics in Medicine 17: 857-872), table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_published_intervals(successes: int, n: int, low: float, high: float) -> None:
    found = wilson(successes, n)
    assert found is not None
    assert (found.n, found.value) == (n, successes / n)
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_the_ends_are_exact_where_rounding_would_leave_a_rest() -> None:
    none, every = wilson(0, 14), wilson(14, 14)
    assert none and every
    assert (none.low, every.high) == (0.0, 1.0)
    # The formula as it stands leaves 2e-17 and 1 + 2e-16 here.
    centre, spread = Z95**2 / 28, Z95 * math.sqrt(Z95**2 / (4 * 14**2))
    assert centre - spread != 0.0 and (1 + centre + spread) / (1 + Z95**2 / 14) != 1.0


def test_the_quantile_is_that_of_95_percent_on_both_sides() -> None:
    # 0.95 of a standard normal lies within Z95 of its mean.
    assert math.erf(Z95 / math.sqrt(2)) == pytest.approx(0.95, abs=1e-15)
