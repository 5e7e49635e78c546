"""Which gains rows can show: the figure beforehand and the measured one, held against simulated runs."""

import math

import numpy as np
import pytest

from steps.contracts.evaluation import Estimate
from steps.engines.scoring.bootstrap import Ratio, estimate_difference
from steps.engines.scoring.power import gain_of_interval, least_gain, least_gain_of_share, measured_gain


def test_with_55_rows_a_gain_under_a_tenth_cant_be_seen() -> None:
    # By hand: where none gets worse, four rows that get better are needed ((1 - 4/55)^55 = 0.016, three: 0.047), and
    # with a gain of 0.098 there are that many in four of five runs.
    found = least_gain_of_share(55)
    fewer = sum(math.comb(55, k) * found**k * (1 - found) ** (55 - k) for k in range(4))
    assert fewer == pytest.approx(0.2, abs=1e-6) and found == pytest.approx(0.0980, abs=5e-5)
    z2 = (1.959964 + 0.841621) ** 2
    assert least_gain_of_share(5000) == pytest.approx(z2 / (5000 + z2), rel=1e-5)
    assert least_gain(100, 0.5) == pytest.approx(math.sqrt(z2) * 0.05, rel=1e-5)
    g = least_gain_of_share(200, worse=0.05, margin=0.02)
    assert (g - 0.02) / math.sqrt((g + 0.1 - g * g) / 200) == pytest.approx(math.sqrt(z2), rel=1e-5)
    assert 0 < least_gain_of_share(1) <= 1 and least_gain_of_share(10, margin=1.0) == 1


@pytest.mark.parametrize(("n", "worse", "margin"), [(60, 0.0, 0.0), (300, 0.05, 0.0), (100, 0.0, 0.3)])
def test_four_in_five_simulated_gains_of_that_size_are_seen(n: int, worse: float, margin: float) -> None:
    gain, draw = least_gain_of_share(n, worse, margin), np.random.default_rng(3)
    seen = 0
    for changes in draw.choice([1.0, -1.0, 0.0], p=[gain + worse, worse, 1 - gain - 2 * worse], size=(150, n)):
        change = estimate_difference(Ratio(np.zeros(n), np.ones(n)), Ratio(changes, np.ones(n)))
        seen += change is not None and change.low > margin
    assert 0.7 < seen / 150 < 0.9, "by the very interval that the gate looks at"


def test_the_measured_figure_is_of_the_paired_changes() -> None:
    before, after = [0.0, 1.0, 0.0, 1.0], [1.0, 1.0, 0.0, 0.0]
    sd = np.std([1.0, 0.0, 0.0, -1.0], ddof=1)
    assert measured_gain(before, after) == pytest.approx(2.801585 * sd / 2, rel=1e-5)
    assert measured_gain(before, before) is None and measured_gain([1.0], [0.0]) is None
    e = Estimate(value=0.0, low=-0.1, high=0.1, n=9)
    assert gain_of_interval(e) == pytest.approx(0.1 * 2.801585 / 1.959964, rel=1e-5)
    assert gain_of_interval(Estimate(value=0.0, low=0.0, high=0.0, n=9)) is None
