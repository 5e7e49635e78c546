import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.engines.scoring import bootstrap
from steps.engines.scoring.bootstrap import Ratio, estimate_difference, estimate_ratio
from steps.engines.scoring.metrics import LARGEST_LOSS, difference, estimate, metric_names


def mean_of(values):
    return Ratio(np.array(values, float), np.ones(len(values)))


def test_interval_of_a_mean_is_near_the_normal_one():
    values = np.random.default_rng(1).normal(3, 2, 4_000)
    found = estimate_ratio(mean_of(values))
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.value == pytest.approx(half, rel=0.08)
    assert found.value - found.low == pytest.approx(half, rel=0.08)


def test_interval_agrees_with_scipys_bootstrap():
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(2).exponential(1, 150)
    found = estimate_ratio(mean_of(values))
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=5_000, random_state=3)
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert found.low == pytest.approx(theirs.confidence_interval.low, abs=0.06 * width)
    assert found.high == pytest.approx(theirs.confidence_interval.high, abs=0.06 * width)


def test_the_interval_covers_the_truth_about_95_times_in_100():
    generator = np.random.default_rng(4)
    hits = 0
    for _ in range(200):
        found = estimate_ratio(mean_of(generator.random(120) < 0.3))
        hits += found.low <= 0.3 <= found.high
    assert 180 <= hits <= 199  # binomial(200, 0.95): 99.9 % of it lies in 179 to 198; percentile runs a little narrow


def test_blocks_change_nothing(monkeypatch):
    values = np.random.default_rng(5).random(50)
    whole = estimate_ratio(mean_of(values))
    monkeypatch.setattr(bootstrap, "_BLOCK_DRAWS", 120)
    assert estimate_ratio(mean_of(values)) == whole


def test_every_resample_is_drawn_whatever_the_block(monkeypatch):
    # Blocks of three don't divide 2,000.
    for draws, block in ((9, 3), (2, 1), (6_000, 2_000)):
        monkeypatch.setattr(bootstrap, "_BLOCK_DRAWS", draws)
        sizes = [len(drawn) for drawn in bootstrap.draws(3)]
        assert sum(sizes) == 2_000
        assert sizes[:-1] == [block] * (len(sizes) - 1)


def test_the_interval_is_of_2000_resamples_from_the_2_5th_to_the_97_5th_percentile():
    values = np.array([0.0, 1.0, 3.0, 7.0, 20.0])
    means = sorted(values[np.random.default_rng(0).integers(5, size=(2_000, 5))].mean(1))
    # 0.025 x 1,999 = 49.975: between the 50th and the 51st of them, and as far from the upper end.
    low = means[49] + 0.975 * (means[50] - means[49])
    high = means[1949] + 0.025 * (means[1950] - means[1949])
    found = estimate_ratio(mean_of(values))
    assert (found.value, found.low, found.high) == (6.2, pytest.approx(low), pytest.approx(high))


def test_a_paired_difference_sees_what_two_intervals_hide():
    base = np.random.default_rng(6).normal(0, 10, 300)
    change = estimate_difference(mean_of(base), mean_of(base + 0.5))
    assert change.low == pytest.approx(0.5)
    assert change.high == pytest.approx(0.5)
    alone, other = estimate_ratio(mean_of(base)), estimate_ratio(mean_of(base + 0.5))
    assert alone.high > other.low


def test_rows_without_a_denominator_take_no_part():
    some = Ratio(np.array([1.0, 99.0, 0.0]), np.array([1.0, 0.0, 1.0]))
    assert estimate_ratio(some).n == 2
    assert estimate_ratio(some).value == 0.5
    assert estimate_ratio(Ratio(np.zeros(3), np.zeros(3))) is None
    assert estimate_ratio(Ratio(np.zeros(0), np.zeros(0))) is None
    with pytest.raises(ValueError, match="same rows"):
        estimate_difference(some, mean_of([1, 2, 3]))
    with pytest.raises(ValueError, match="same rows"):
        estimate_difference(mean_of([1, 2, 3]), some)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30))
def test_value_lies_within_its_interval_and_pairing_with_itself_gives_zero(values):
    found = estimate_ratio(mean_of(values))
    assert found.low <= found.high
    assert min(values) - 1e-9 <= found.low and found.high <= max(values) + 1e-9
    change = estimate_difference(mean_of(values), mean_of(values))
    assert (change.value, change.low, change.high) == (0, 0, 0)


def test_loss_is_per_token_and_perplexity_its_exponential():
    rows = [{"nats": 10.0, "tokens": 10.0, "non_finite": 0.0}, {"nats": 6.0, "tokens": 2.0, "non_finite": 0.0}]
    assert metric_names(rows) == ["loss", "non_finite", "perplexity"]
    assert estimate("loss", rows).value == pytest.approx(16 / 12)
    assert estimate("perplexity", rows).value == pytest.approx(math.exp(16 / 12))
    better = [{**r, "nats": r["nats"] / 2} for r in rows]
    assert difference("perplexity", rows, better).value == pytest.approx(math.exp(8 / 12 - 16 / 12))
    assert difference("loss", rows, better).value == pytest.approx(-8 / 12)
    assert metric_names([{"nats": 1.0, "tokens": 2.0}]) == ["loss", "perplexity"]
    assert metric_names([{"nats": 1.0, "tokens": None}]) == []


def test_one_infinite_loss_leaves_no_loss_at_all():
    rows = [{"nats": 10.0, "tokens": 10.0, "non_finite": 0.0}, {"nats": None, "tokens": None, "non_finite": 1.0}]
    assert metric_names(rows) == ["non_finite"]
    assert estimate("non_finite", rows).value == 0.5


def test_the_largest_loss_has_a_perplexity_and_little_more_has_none() -> None:
    assert math.isfinite(math.exp(LARGEST_LOSS))
    with pytest.raises(OverflowError):
        math.exp(LARGEST_LOSS + 10)
