import numpy as np
from datasketch import MinHash
from hypothesis import given
from hypothesis import strategies as st

from steps.engines.minhash.signatures import band_hashes, buckets, signatures


def random_sets(count, seed=0):
    rng = np.random.default_rng(seed)
    return [np.unique(rng.integers(0, 2**63, rng.integers(1, 400)).astype(np.uint64)) for _ in range(count)]


def test_signatures_are_datasketchs_own():
    sets = random_sets(20)
    ours = signatures(sets, 125, 7, "datasketch")
    for i, members in enumerate(sets):
        theirs = MinHash(num_perm=125, seed=7, hashfunc=lambda b: int.from_bytes(b, "little"))
        for value in members.tolist():
            theirs.update((value & 0xFFFFFFFF).to_bytes(4, "little"))
        assert ours[i].tolist() == theirs.hashvalues.tolist()


def test_long_rows_in_pieces_give_the_same_signature(monkeypatch):
    long = [np.arange(20_000, dtype=np.uint64)]
    whole = signatures(long, 16, 1, "datasketch")
    monkeypatch.setattr("steps.engines.minhash.signatures._PIECE_SHINGLES", 999)
    assert signatures(long, 16, 1, "datasketch").tolist() == whole.tolist()


def test_signatures_estimate_jaccard():
    rng = np.random.default_rng(3)
    errors = []
    for shared in range(0, 201, 10):
        pool = rng.integers(0, 2**63, 400 - shared).astype(np.uint64)
        a, b = pool[:200], pool[200 - shared :]
        sig = signatures([np.sort(a), np.sort(b)], 125, 1, "datasketch")
        errors.append((sig[0] == sig[1]).mean() - shared / (400 - shared))
    # standard error of one estimate is at most sqrt(.25 / 125) = .045
    assert max(map(abs, errors)) < 0.18
    assert abs(float(np.mean(errors))) < 0.04


def test_no_rows_and_empty_sets():
    assert signatures([], 10, 1, "datasketch").shape == (0, 10)
    assert (signatures([np.empty(0, np.uint64)], 10, 1, "datasketch") == 2**32 - 1).all()
    assert buckets(np.empty((0, 5), np.uint64)).shape == (0, 5)


@given(st.lists(st.lists(st.integers(0, 2), min_size=6, max_size=6), max_size=12))
def test_bands_and_buckets_against_a_plain_dictionary(rows):
    sig = np.array(rows, np.uint32).reshape(len(rows), 6)
    got = buckets(band_hashes(sig, 3, 2))
    for b in range(3):
        keys = [tuple(r[2 * b : 2 * b + 2]) for r in rows]
        for i, key in enumerate(keys):
            assert (got[i, b] == -1) == (keys.count(key) == 1)
            for j in range(i):
                if keys.count(key) > 1:
                    assert (got[i, b] == got[j, b]) == (key == keys[j])
    shared = [set(got[:, b].tolist()) - {-1} for b in range(3)]
    assert not (shared[0] & shared[1] or shared[1] & shared[2] or shared[0] & shared[2])
