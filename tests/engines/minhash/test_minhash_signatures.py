import numpy as np
import pytest
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.engines.minhash.signatures import Scheme, band_hashes, permutations, signatures

U32 = st.integers(0, 2**32 - 1)


def ragged(sets):
    offsets = np.cumsum([0, *map(len, sets)]).astype(np.int64)
    return np.array([v for s in sets for v in s], np.uint32), offsets


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sets(U32, max_size=30), max_size=6), st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_signatures_are_datasketchs_own(sets, seed, count):
    scheme = Scheme(bands=count, rows=1, seed=seed)
    ours = signatures(*ragged([sorted(s) for s in sets]), scheme)
    slow = signatures(*ragged([sorted(s) for s in sets]), Scheme(count, 1, seed, backend="datasketch"))
    assert ours[:, :count].tolist() == slow.tolist()
    for i, members in enumerate(sets):
        theirs = MinHash(num_perm=count, seed=seed, hashfunc=lambda b: int.from_bytes(b, "little"))
        for value in members:
            theirs.update(value.to_bytes(4, "little"))
        assert ours[i, :count].tolist() == theirs.hashvalues.tolist()


def test_permutations_are_datasketchs_own():
    a, b = permutations(125, 7)
    theirs = MinHash(num_perm=125, seed=7).permutations
    assert np.array_equal(a[:125], theirs[0])
    assert np.array_equal(b[:125], theirs[1])
    assert len(a) == len(b) == 128


def test_long_rows_in_pieces_give_the_same_signature(monkeypatch):
    long = (np.arange(20_000, dtype=np.uint32), np.array([0, 20_000], np.int64))
    scheme = Scheme(16, 1, 1, "datasketch")
    whole = signatures(*long, scheme)
    monkeypatch.setattr("steps.engines.minhash.signatures._PIECE_SHINGLES", 999)
    assert signatures(*long, scheme).tolist() == whole.tolist()


@pytest.mark.parametrize("backend", ["numba", "datasketch"])
def test_signatures_estimate_jaccard(backend):
    rng = np.random.default_rng(3)
    errors = []
    for shared in range(0, 201, 10):
        pool = rng.integers(0, 2**32, 400 - shared, dtype=np.uint32)
        sig = signatures(*ragged([pool[:200], pool[200 - shared :]]), Scheme(125, 1, 1, backend))[:, :125]
        errors.append((sig[0] == sig[1]).mean() - shared / (400 - shared))
    # standard error of one estimate is at most sqrt(.25 / 125) = .045
    assert max(map(abs, errors)) < 0.18
    assert abs(float(np.mean(errors))) < 0.04


def test_no_rows_and_empty_sets():
    scheme = Scheme(10, 1, 1)
    assert len(signatures(*ragged([]), scheme)) == 0
    assert (signatures(*ragged([[]]), scheme)[:, :10] == 2**32 - 1).all()
    assert band_hashes(np.empty((0, 16), np.uint32), scheme).shape == (0, 10)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), min_size=6, max_size=6), max_size=12))
def test_bands_are_equal_where_their_values_are(rows):
    sig = np.array(rows, np.uint32).reshape(len(rows), 6)
    got = band_hashes(sig, Scheme(3, 2, 1))
    for i in range(len(rows)):
        for j in range(i):
            for b in range(3):
                same = rows[i][2 * b : 2 * b + 2] == rows[j][2 * b : 2 * b + 2]
                assert (got[i, b] == got[j, b]) == same
