from fractions import Fraction
from math import comb

import pytest

from steps.engines.minhash.banding import MOST_BANDS, MOST_ROWS, Banding, banding


def missed(threshold: Fraction, bands: int, rows: int) -> Fraction:
    """Mean of (1 - s^rows)^bands for s from the threshold to 1: multiplied out, then integrated term by term."""
    total = Fraction(0)
    for k in range(bands + 1):
        power = rows * k + 1
        total += (-1) ** k * comb(bands, k) * (1 - threshold**power) / power
    return total / (1 - threshold)


def test_probability_of_meeting_by_hand() -> None:
    assert Banding(1, 1).meets(0.3) == pytest.approx(0.3)
    # Two bands of two: 1 - (1 - 0.25)^2.
    assert Banding(2, 2).meets(0.5) == pytest.approx(0.4375)
    # 0.7^5 = 0.16807; (1 - 0.16807)^25 = 0.01005.
    assert Banding(25, 5).meets(0.7) == pytest.approx(0.98995, abs=1e-5)
    # The share of pairs of Jaccard 0.5 that 25 bands of 5 let meet: 1 - (31 / 32)^25.
    assert Banding(25, 5).meets(0.5) == pytest.approx(0.5478, abs=1e-4)


def test_recall_by_hand_and_by_exact_integration() -> None:
    # Two bands of one above 0.5: the mean of (1 - s)^2 is (0.5^3 / 3) / 0.5 = 1 / 12.
    assert Banding(2, 1).recall(0.5) == pytest.approx(11 / 12, abs=1e-6)
    for tenths, bands, rows in ((7, 25, 5), (5, 125, 5), (3, 40, 2), (9, 6, 5)):
        exact = 1 - missed(Fraction(tenths, 10), bands, rows)
        assert Banding(bands, rows).recall(tenths / 10) == pytest.approx(float(exact), abs=1e-6)
    assert Banding(1, 5).recall(1.0) == 1.0


@pytest.mark.parametrize(
    ("threshold", "bands", "rows"), [(0.5, 125, 5), (0.6, 53, 5), (0.7, 25, 5), (0.8, 13, 5), (0.9, 6, 5), (1.0, 1, 5)]
)
def test_derived_values(threshold: float, bands: int, rows: int) -> None:
    found = banding(threshold)
    assert (found.bands, found.rows) == (bands, rows)
    assert found.recall(threshold) > 0.999


def test_nothing_cheaper_misses_as_little() -> None:
    for threshold in (0.3, 0.5, 0.7, 0.9):
        best = banding(threshold)
        for rows in range(1, 13):
            for bands in range(1, MOST_BANDS + 1):
                other = Banding(bands, rows)
                if other.cost < best.cost:
                    assert other.recall(threshold) < 1 - 8e-4, other


def test_what_is_given_stays_and_the_rest_follows() -> None:
    assert banding(0.5, 25, 5) == Banding(25, 5)
    assert banding(0.5, rows=3).rows == 3 and banding(0.5, rows=3).recall(0.5) > 0.999
    few = banding(0.5, bands=25)
    assert few.bands == 25 and few.recall(0.5) > 0.999
    # Where nothing is enough: what misses least.
    assert banding(0.5, bands=1) == Banding(1, 1)
    assert banding(0.01, rows=MOST_ROWS).bands == MOST_BANDS
