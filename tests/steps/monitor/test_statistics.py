"""Each statistic against scipy, or against a second computation that shares nothing with it."""

import itertools
import math

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import binom, fisher_exact

from steps.monitor import statistics


def test_psi_is_what_the_formula_says_by_hand() -> None:
    # Shares with half a row added: 10.5/21 and 10.5/21 beside 5.5/21 and 15.5/21.
    e, a = np.array([10, 10]), np.array([5, 15])
    by_hand = (5.5 / 21 - 0.5) * math.log(5.5 / 21 / 0.5) + (15.5 / 21 - 0.5) * math.log(15.5 / 21 / 0.5)
    assert statistics.psi(e, a) == pytest.approx(by_hand, rel=1e-12)
    assert statistics.psi(e, e) == 0.0
    assert statistics.psi(np.array([10, 0]), np.array([10, 0])) == 0.0
    assert math.isfinite(statistics.psi(np.array([10, 0]), np.array([0, 10])))


def test_the_p_value_of_psi_is_that_of_dealing_every_row_in_every_way() -> None:
    """All ways of choosing 4 of 9 rows, listed."""
    expected, actual = np.array([4, 1, 0]), np.array([1, 2, 1])
    rows = [b for b, count in enumerate(expected + actual) for _ in range(count)]
    found = statistics.psi(expected, actual)
    ways = list(itertools.combinations(range(len(rows)), 4))
    large = 0
    for chosen in ways:
        a = np.bincount([rows[i] for i in chosen], minlength=3)
        large += statistics.psi(expected + actual - a, a) >= found - 1e-12
    value, p = statistics.psi_test(expected, actual, 20_000, seed=7)
    assert value == found
    assert p == pytest.approx(large / len(ways), abs=0.01)
    assert statistics.psi_test(expected, actual, 500, seed=7) == statistics.psi_test(expected, actual, 500, seed=7)


def test_p_values_without_a_difference_are_uniform() -> None:
    rng = np.random.default_rng(3)
    shares = np.array([0.5, 0.3, 0.15, 0.05])
    p = [
        statistics.psi_test(rng.multinomial(300, shares), rng.multinomial(200, shares), 199, seed=i)[1]
        for i in range(400)
    ]
    for alpha in (0.05, 0.2, 0.5):
        # 400 windows: within four standard errors.
        assert abs(np.mean(np.array(p) <= alpha) - alpha) < 4 * math.sqrt(alpha * (1 - alpha) / 400)


def test_mmd_is_the_unbiased_estimate_written_out_pair_by_pair() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(7, 3)), rng.normal(1.0, size=(5, 3))
    pooled = np.concatenate([x, y])
    squares = cdist(pooled, pooled, "sqeuclidean")
    width = np.median(squares[np.triu_indices(12, 1)])
    k = np.exp(-squares / width)
    within = sum(k[i, j] for i in range(7) for j in range(7) if i != j) / 42
    other = sum(k[i, j] for i in range(7, 12) for j in range(7, 12) if i != j) / 20
    across = sum(k[i, j] for i in range(7) for j in range(7, 12)) / 35
    value, _ = statistics.mmd_test(x, y, 9, seed=0)
    assert value == pytest.approx(within + other - 2 * across, rel=1e-9)


def test_mmd_tells_a_moved_sample_and_not_an_equal_one() -> None:
    rng = np.random.default_rng(5)
    near, far = [], []
    for seed in range(60):
        x = rng.normal(size=(40, 4))
        near.append(statistics.mmd_test(x, rng.normal(size=(40, 4)), 99, seed)[1])
        far.append(statistics.mmd_test(x, rng.normal(1.0, size=(40, 4)), 99, seed)[1])
    assert max(far) <= 0.02
    assert np.mean(np.array(near) <= 0.1) < 0.1 + 4 * math.sqrt(0.09 / 60)
    same = np.ones((5, 2))
    assert statistics.mmd_test(same, same, 9, 0)[1] == 1.0


def test_fisher_is_scipys() -> None:
    rng = np.random.default_rng(2)
    for _ in range(200):
        n, m = (int(v) for v in rng.integers(1, 60, 2))
        e, a = int(rng.integers(0, n + 1)), int(rng.integers(0, m + 1))
        table = [[a, m - a], [e, n - e]]
        assert statistics.fisher((e, n), (a, m)) == pytest.approx(fisher_exact(table)[1], abs=1e-9)
        more = fisher_exact(table, alternative="greater")[1]
        assert statistics.fisher((e, n), (a, m), more=True) == pytest.approx(more, abs=1e-9)


@pytest.mark.parametrize("quantile", [0.5, 0.95])
def test_the_interval_of_a_quantile_covers_it(quantile: float) -> None:
    """By the binomial distribution of how many values lie below it, not by the normal one that the code uses."""
    n = 200
    value, low, high = statistics.quantile_interval(range(1, n + 1), quantile)
    assert value == n * quantile
    # The true quantile lies in [x_low, x_high) when low <= (values below it) < high.
    cover = binom.cdf(high - 1, n, quantile) - binom.cdf(low - 1, n, quantile)
    assert 0.95 <= cover < 0.99
    assert statistics.quantile_interval([3.0], quantile) == (3.0, 3.0, 3.0)


def test_bins_hold_equally_many_and_every_value_lies_in_one() -> None:
    values = list(range(100))
    edges = statistics.bins_of(values, 10)
    assert statistics.counted(values, edges).tolist() == [10] * 10
    assert statistics.bins_of([4] * 50, 10) == [4]
    assert statistics.counted([3, 4, 5], [4]).tolist() == [1, 2]
