"""Agreement, kappa, ranks, AUROC, alpha and thresholds against scikit-learn, scipy and published examples."""

import math
import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from steps.engines.scoring import agreement as a
from steps.engines.scoring.cutoff import clopper_pearson, cutoff_for, cutoffs
from steps.engines.scoring.krippendorff import alpha, alpha_estimate, by_annotator
from steps.engines.scoring.wilson import wilson

SCALE = np.arange(1.0, 6.0)


def ratings(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two ratings of 2 to 60 rows: alike, not alike, one or both constant, with few or all values."""
    dice = np.random.default_rng(seed)
    n = int(dice.integers(2, 60))
    first = dice.integers(1, int(dice.integers(3, 9)), n).astype(float).clip(1, 5)
    noise = dice.integers(-1, 2, n) if seed % 3 else dice.integers(-4, 5, n)
    second = np.clip(first + noise, 1, 5)
    if seed % 17 == 0:
        second[:] = 3
    if seed % 31 == 0:
        first[:] = 3
    return first, second


def same(ours: float, theirs: float) -> bool:
    return (math.isnan(ours) and math.isnan(theirs)) or ours == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("tables", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_random_tables_are_as_scikit_learn_and_scipy_have_them(tables: int) -> None:
    defined = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(tables):
            x, y = ratings(seed)
            square = a.Crossed.of(x, y, SCALE).counts
            assert same(float(a.agreement(square)), metrics.accuracy_score(x, y)), seed
            for ours, theirs in (("none", None), ("linear", "linear"), ("quadratic", "quadratic")):
                found = float(a.kappa(ours, SCALE)(square))
                assert same(found, metrics.cohen_kappa_score(x, y, labels=SCALE, weights=theirs)), (seed, ours)
            crossed = a.Crossed.of(x, y).counts
            assert same(float(a.spearman(crossed)), stats.spearmanr(x, y).statistic), seed
            assert same(float(a.kendall(crossed)), stats.kendalltau(x, y).statistic), seed
            good = x > 3
            if len(set(good)) == 2:
                table = a.Crossed.of(good.astype(float), y).counts
                assert same(float(a.auroc(table)), metrics.roc_auc_score(good, y)), seed
                precision, _, thresholds = metrics.precision_recall_curve(good, y, drop_intermediate=False)
                ours_at = cutoffs(good.tolist(), y.tolist())
                assert [t for t, _, _ in ours_at] == thresholds.tolist()
                assert [h / k for _, k, h in ours_at] == pytest.approx(precision[:-1].tolist())
                defined += 1
            hits, n = int(good.sum()), len(good)
            for of, method in ((wilson, "wilson"), (clopper_pearson, "exact")):
                interval = stats.binomtest(hits, n).proportion_ci(0.95, method)
                mine = of(hits, n)
                assert mine is not None and (mine.low, mine.high) == pytest.approx((interval.low, interval.high))
    assert defined > tables / 2


# Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011): sections A, B and C with their results.
MEG_OWEN = ("0100000010", "1110010000")
BEN_GERRY = ("aabbdcccedda", "babbbccceddd")
OBSERVERS = """\
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 ."""


def matrix(text: str) -> np.ndarray:
    rows = [[math.nan if v == "." else float(v) for v in line.split()] for line in text.splitlines()]
    return np.array(rows).T


def test_alpha_is_that_of_the_published_examples() -> None:
    table = matrix(OBSERVERS)
    assert round(alpha(table, "nominal"), 3) == 0.743
    assert round(alpha(table, "ordinal"), 3) == 0.815
    assert round(alpha(table, "interval"), 3) == 0.849
    binary = np.array([[float(v) for v in side] for side in MEG_OWEN]).T
    assert round(alpha(binary, "nominal"), 3) == 0.095
    letters = np.array([[float(ord(v)) for v in side] for side in BEN_GERRY])
    assert round(alpha(letters.T, "nominal"), 3) == 0.692
    # Of the twelfth row one rating is there only: it says nothing.
    estimate = alpha_estimate(table, "ordinal")
    assert estimate is not None and estimate.n == 11 and estimate.low < 0.815 < estimate.high


def test_alpha_of_nothing_rated_twice_isnt_defined() -> None:
    assert math.isnan(alpha(np.array([[1.0, math.nan], [math.nan, 2.0]]), "nominal"))
    assert math.isnan(alpha(np.array([[2.0, 2.0], [2.0, 2.0]]), "interval"))
    assert alpha_estimate(np.empty((0, 2)), "ordinal") is None
    who, table = by_annotator([{"b": 1.0}, {"a": 2.0, "b": 3.0}])
    assert who == ("a", "b") and np.isnan(table[0, 0]) and table[1].tolist() == [2.0, 3.0]


def test_alpha_of_random_tables_is_one_less_the_mean_of_all_pairs() -> None:
    """By its definition, pair by pair, on 200 tables with missing values."""
    for seed in range(200):
        dice = np.random.default_rng(seed)
        table = dice.integers(1, 6, (int(dice.integers(2, 15)), 3)).astype(float)
        table[dice.random(table.shape) < 0.25] = math.nan
        units = [row[~np.isnan(row)] for row in table]
        units = [u for u in units if len(u) > 1]
        pooled = np.concatenate(units) if units else np.empty(0)
        seen = sum(((u[:, None] - u[None, :]) ** 2).sum() / (len(u) - 1) for u in units)
        chance = ((pooled[:, None] - pooled[None, :]) ** 2).sum() / max(len(pooled) - 1, 1)
        assert same(alpha(table, "interval"), 1 - seen / chance if chance else math.nan), seed


def test_an_interval_is_seeded_in_any_order_and_of_the_width_that_theory_gives() -> None:
    dice = np.random.default_rng(3)
    x = dice.integers(1, 6, 400).astype(float)
    y = np.where(dice.random(400) < 0.7, x, dice.integers(1, 6, 400))
    found = a.Crossed.of(x, y, SCALE).estimate(a.agreement, 0.0)
    order = dice.permutation(400)
    assert found == a.Crossed.of(x[order], y[order], SCALE).estimate(a.agreement, 0.0)
    by_theory = wilson(round(found.value * 400), 400)
    assert by_theory is not None and (found.low, found.high) == pytest.approx((by_theory.low, by_theory.high), abs=0.01)


def test_perfect_agreement_of_few_rows_isnt_sure() -> None:
    x = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    found = a.Crossed.of(x, x, SCALE).estimate(a.kappa("quadratic", SCALE), -1.0)
    assert found is not None and found.value == 1.0 and found.low < 0.2 and found.high == 1.0
    assert a.Crossed.of(x, np.full(5, 3.0)).estimate(a.spearman, -1.0) is None
    assert a.Crossed.of([], []).estimate(a.agreement, 0.0) is None


def test_the_threshold_is_the_lowest_that_reaches_the_precision() -> None:
    scores = [0.2] * 10 + [0.6] * 10 + [1.0] * 80
    good = [False] * 10 + [False] * 5 + [True] * 5 + [True] * 78 + [False] * 2
    point = cutoff_for(good, scores, 0.9, sure=False)
    assert point is not None and point.threshold == 0.6 and point.precision.value == pytest.approx(83 / 90)
    assert not point.sure
    certain = cutoff_for(good, scores, 0.9, sure=True)
    assert certain is not None and certain.threshold == 1.0 and certain.sure and certain.recall.value == 78 / 83
    assert cutoff_for(good, scores, 0.99, sure=False) is None
    assert cutoff_for([], [], 0.5, sure=False) is None
