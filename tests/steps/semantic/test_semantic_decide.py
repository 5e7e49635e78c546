"""The choice of survivors against a second implementation that compares all with all."""

import numpy as np
import pytest

from steps.contracts.records import KINDS
from steps.semantic.config import SemanticConfig
from steps.semantic.decide import decide
from steps.semantic.embeddings import Embeddings

THRESHOLD = 0.9


def rows_of(vectors, seed=0, held_out=0.1):
    """Made-up rows: three batches, content ids in no order, some held out, two kinds."""
    rng = np.random.default_rng(seed)
    n = len(vectors)
    ids = np.array([f"{i:032x}" for i in rng.permutation(n)], np.bytes_)
    kinds = (rng.random(n) < 0.2).astype(np.int8) * (len(KINDS) - 1)
    none = np.zeros(n, bool)
    return Embeddings(
        record_ids=np.array([f"r{i:031d}" for i in range(n)], np.bytes_), content_ids=ids, kinds=kinds,
        batches=rng.integers(0, 3, n), held_out=rng.random(n) < held_out, vectors=vectors, compared=~none, cut=none,
        empty=none,
    )  # fmt: skip


def families(n, spread, d=32, seed=0):
    """Unit vectors in families whose members are about as similar as the threshold, so that chains occur."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n // 6, d))
    x = centres[rng.integers(0, len(centres), n)] + spread * rng.normal(size=(n, d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def by_hand(rows, threshold, agrees=lambda row, other: True):
    """Kept rows, by the rule as it is written; quadratic, in float64."""
    ranked = sorted(
        range(len(rows.kinds)),
        key=lambda i: (not rows.held_out[i], rows.batches[i], rows.content_ids[i], rows.record_ids[i]),
    )
    cosine = np.round(rows.vectors.astype(float) @ rows.vectors.astype(float).T, 6)
    kept = []
    for i in ranked:
        rivals = [j for j in kept if rows.kinds[j] == rows.kinds[i] and cosine[i, j] >= threshold]
        if rows.held_out[i] or not any(agrees(i, j) for j in rivals):
            kept.append(i)
    return set(kept), cosine


def config(**more):
    return SemanticConfig(embed={"model": "m"}, threshold=THRESHOLD, **more)


def check_witnesses(rows, found, cosine):
    dropped = np.flatnonzero(found.dropped)
    for i in dropped.tolist():
        j = found.witness[i]
        assert not found.dropped[j] and not rows.held_out[i] and rows.kinds[i] == rows.kinds[j]
        assert found.cosine[i] == pytest.approx(cosine[i, j], abs=2e-6) and found.cosine[i] >= THRESHOLD
    return len(dropped)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["faiss", "qdrant"])
def test_the_same_rows_stay_as_when_all_are_compared_with_all(backend):
    rows = rows_of(families(3_000, 0.25))
    found = decide(rows, config(neighbours={"backend": backend}), None)
    kept, cosine = by_hand(rows, THRESHOLD)
    assert set(np.flatnonzero(~found.dropped).tolist()) == kept
    assert check_witnesses(rows, found, cosine) > 500
    assert found.exact and not found.capped.any()
    # Chains occur: some kept row is similar to a dropped one that would have won over it.
    assert any((cosine[i][found.dropped] >= THRESHOLD).any() for i in kept if not rows.held_out[i])


@pytest.mark.slow
@pytest.mark.parametrize("above", ["hnsw", "ivf"])
def test_an_approximate_index_never_drops_without_proof_and_misses_little(above):
    rows = rows_of(families(3_000, 0.25))
    found = decide(rows, config(neighbours={"exact_up_to": 0, "above": above}), None)
    kept, cosine = by_hand(rows, THRESHOLD)
    check_witnesses(rows, found, cosine)
    assert not found.exact
    mine = set(np.flatnonzero(~found.dropped).tolist())
    assert len(mine ^ kept) <= 0.01 * len(kept)


def test_the_second_model_has_the_last_word():
    """Its verdict on a pair: both rows even, or both odd."""
    rows = rows_of(families(1_500, 0.22))
    agrees = lambda i, j: (i + j) % 2 == 0  # noqa: E731
    calls = []

    def rerank(row, others):
        calls.append((row, tuple(others)))
        return [0.8 if agrees(row, o) else 0.1 for o in others]

    settings = config(rerank={"model": "m", "threshold": 0.5}, max_neighbours=1000)
    found = decide(rows, settings, rerank)
    kept, cosine = by_hand(rows, THRESHOLD, agrees)
    assert set(np.flatnonzero(~found.dropped).tolist()) == kept
    assert check_witnesses(rows, found, cosine) > 200
    assert all((i + found.witness[i]) % 2 == 0 and found.second[i] == 0.8 for i in np.flatnonzero(found.dropped))
    assert found.pairs == sum(len(others) for _, others in calls) and not found.capped.any()


def test_a_second_model_that_gives_no_number_drops_nothing():
    rows = rows_of(families(300, 0.1))
    settings = config(rerank={"model": "m", "threshold": 0.0})
    found = decide(rows, settings, lambda row, others: [float("-inf")] * len(others))
    assert found.pairs > 0 and not found.dropped.any()


def test_the_cap_on_neighbours_is_counted():
    vectors = np.tile(np.eye(4, dtype=np.float32)[:1], (50, 1))
    rows = rows_of(vectors, held_out=0.0)
    rows = Embeddings(**{**rows.__dict__, "kinds": np.zeros(50, np.int8)})
    settings = config(rerank={"model": "m", "threshold": 0.5}, max_neighbours=8)
    most = []

    def disagree(row, others):
        most.append(len(others))
        return [0.0] * len(others)

    found = decide(rows, settings, disagree)
    assert not found.dropped.any() and max(most) == 8
    assert found.capped.sum() == 50 - 9  # the tenth row in order is the first with more than eight before it


def test_equal_rows_cost_one_comparison_each():
    rows = rows_of(np.tile(np.eye(8, dtype=np.float32)[:1], (20_000, 1)), held_out=0.0)
    rows = Embeddings(**{**rows.__dict__, "kinds": np.zeros(20_000, np.int8)})
    found = decide(rows, config(), None)
    assert (~found.dropped).sum() == 1 and found.pairs == 19_999


def test_rows_that_are_not_compared_are_no_witness():
    vectors = np.tile(np.eye(4, dtype=np.float32)[:1], (3, 1))
    rows = rows_of(vectors, held_out=0.0)
    rows = Embeddings(**{**rows.__dict__, "kinds": np.zeros(3, np.int8), "compared": np.array([True, False, True])})
    found = decide(rows, config(), None)
    assert found.dropped.sum() == 1 and 1 not in found.witness and not found.dropped[1]
