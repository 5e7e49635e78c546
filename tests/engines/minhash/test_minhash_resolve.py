from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.contracts.errors import StorageError
from steps.engines.minhash.kernel import distinct_sets
from steps.engines.minhash.resolve import Claims, bucket_numbers, first_of_equals, near_duplicates
from steps.engines.minhash.signatures import Scheme
from steps.engines.minhash.sketch import Job, SetFile, sketch
from steps.engines.text.columns import column_texts


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), max_size=12), max_size=6))
def test_sets_without_repeats_in_order_of_first_occurrence(rows):
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    values = np.array([v << 32 | 7 for r in rows for v in r], np.uint64)
    out = np.empty(len(values), np.uint32)
    leads = np.array([len(r) // 2 for r in rows], np.int64)
    ends = distinct_sets(values, offsets, leads, out)
    for i, r in enumerate(rows):
        assert out[ends[i] : ends[i + 1]].tolist() == list(dict.fromkeys(r))
        assert leads[i] == len(set(r[: len(r) // 2]))


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), min_size=3, max_size=3), max_size=12))
def test_buckets_against_a_plain_dictionary(rows):
    bands = np.array(rows, np.uint32).reshape(len(rows), 3).T.copy()
    got, counts = bucket_numbers(bands)
    for b in range(3):
        keys = [r[b] for r in rows]
        assert counts[b] == sum(keys.count(k) > 1 for k in set(keys))
        for i, key in enumerate(keys):
            assert (got[b, i] == -1) == (keys.count(key) == 1)
            for j in range(i):
                if keys.count(key) > 1:
                    assert (got[b, i] == got[b, j]) == (key == keys[j])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=12), st.randoms())
def test_the_first_of_equals(digests, random):
    order = list(range(len(digests)))
    random.shuffle(order)
    got = first_of_equals(np.array(digests, np.uint64).reshape(-1, 2), np.array(order, np.int64))
    assert got.tolist() == [next(k for k, o in enumerate(order) if digests[o] == digests[i]) for i in order]


def greedy_by_hand(sets, threshold, kept_before):
    kept, witness = [], []
    for i, s in enumerate(sets):
        near = [k for k in kept if len(s & sets[k]) >= threshold * len(s | sets[k]) - 1e-9] if i >= kept_before else []
        # every set shares the one bucket, and the latest kept one is asked first
        witness.append(max(near, default=-1))
        if not near:
            kept.append(i)
    return witness


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.frozensets(st.integers(0, 8), min_size=1), min_size=2, max_size=12),
    st.sampled_from([0.3, 0.5, 0.7, 1.0]),
    st.integers(0, 3),
)
def test_the_greedy_rule_against_python_sets(sets, threshold, kept_before):
    ends = np.cumsum([len(s) for s in sets])
    starts = ends - [len(s) for s in sets]
    values = np.array([v for s in sets for v in s], np.uint32)
    one_bucket = np.zeros((1, len(sets)), np.int32)
    found = near_duplicates(
        one_bucket, np.array([1]), values, starts, ends, threshold=threshold, cap=256, kept_before=kept_before
    )
    assert found.witness.tolist() == greedy_by_hand(sets, threshold, kept_before)
    for i, w in enumerate(found.witness.tolist()):
        if w >= 0:
            assert found.jaccard[i] == len(sets[i] & sets[w]) / len(sets[i] | sets[w])
        else:
            assert np.isnan(found.jaccard[i])


def test_the_cap_bounds_comparisons_and_is_counted():
    sets = [np.arange(i * 10, i * 10 + 10, dtype=np.uint32) for i in range(50)]
    ends = np.cumsum([10] * 50)
    found = near_duplicates(
        np.zeros((2, 50), np.int32), np.array([1, 1]), np.concatenate(sets), ends - 10, ends, threshold=0.7, cap=5
    )
    assert (found.witness == -1).all()
    assert found.compared == sum(min(i, 5) for i in range(50))
    assert found.capped == 50 - 6


@pytest.mark.parametrize(("others", "cap", "witness", "capped"), [(256, 257, 0, 0), (256, 256, -1, 1), (3, 256, 0, 0)])
def test_a_copy_beyond_the_cap_stays_and_is_counted(others, cap, witness, capped):
    """The last row is a copy of the first, and meets `others` rows before it that are none."""
    members = range(10)
    sets = [list(members), *([*members[:5], *range(100 * i, 100 * i + 5)] for i in range(1, others + 1)), list(members)]
    ends = np.cumsum([10] * len(sets))
    buckets = np.zeros((1, len(sets)), np.int32)
    buckets[0, 1:-1] = -1
    everybody = np.zeros((1, len(sets)), np.int32)
    values = np.array(sets, np.uint32).reshape(-1)
    # All but the last one are kept before, so that what is counted is the last one's.
    found = near_duplicates(
        everybody, np.array([1]), values, ends - 10, ends, threshold=0.7, cap=cap, kept_before=len(sets) - 1
    )
    assert (found.witness[-1], found.capped) == (witness, capped)
    assert found.compared == min(others + 1, cap)
    alone = near_duplicates(
        buckets, np.array([1]), values, ends - 10, ends, threshold=0.7, cap=1, kept_before=len(sets) - 1
    )
    assert (alone.witness[-1], alone.compared, alone.capped) == (0, 1, 0)


def test_values_that_crowd_one_place_of_the_table():
    """Multiples of the inverse of the table's factor all fall into its first place."""
    inverse = pow(0x9E3779B1, -1, 2**32)
    crowd = np.array([k * inverse % 2**32 for k in range(300)], np.uint32)
    sets = [crowd[:200], crowd[40:240], crowd[100:300]]
    ends = np.cumsum([200] * 3)
    found = near_duplicates(
        np.zeros((1, 3), np.int32), np.array([1]), np.concatenate(sets), ends - 200, ends, threshold=0.6, cap=9
    )
    assert found.witness.tolist() == [-1, 0, -1]
    assert found.jaccard[1] == 160 / 240
    out = np.empty(600, np.uint32)
    twice = np.concatenate([crowd, crowd]).astype(np.uint64) << np.uint64(32)
    assert distinct_sets(twice, np.array([0, 600]), np.zeros(1, np.int64), out).tolist() == [0, 300]
    assert out[:300].tolist() == crowd.tolist()


def test_shingles_that_differ_below_32_bits_count_as_one():
    out = np.empty(2, np.uint32)
    shingles, leads = np.array([5 << 32 | 1, 5 << 32 | 2], np.uint64), np.zeros(1, np.int64)
    assert distinct_sets(shingles, np.array([0, 2]), leads, out).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("asked", "answered", "plain", "leads", "witness"),
    [
        ((7, 7), (1, 1), (5, 5), (8, 8), 0),
        # The same words, another answer: whatever is asked.
        ((7, 8), (1, 2), (5, 5), (0, 0), -1),
        ((7, 0), (1, 2), (5, 5), (0, 0), 0),
        # One prompt: what is left of the sets without it has 1 of 3, or 6 of 8, in common.
        ((7, 7), (1, 2), (5, 6), (5, 5), -1),
        ((7, 7), (1, 2), (5, 6), (0, 0), 0),
        ((7, 8), (1, 2), (5, 6), (5, 5), 0),
        # Nothing is left of both.
        ((7, 7), (1, 2), (5, 6), (8, 8), -1),
    ],
)
def test_rows_that_claim_different_things_are_no_duplicates(asked, answered, plain, leads, witness):
    """Sets of 7 that share 6 of 8 members."""
    sets = np.array([0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 7], np.uint32)
    claims = Claims(*(np.array(c, np.uint64) for c in (asked, answered, plain)), np.array(leads, np.int64))
    found = near_duplicates(
        np.zeros((1, 2), np.int32), np.array([1]), sets, np.array([0, 7]), np.array([7, 14]), threshold=0.7, cap=9,
        claims=claims,
    )  # fmt: skip
    assert found.witness[1] == witness


def test_empty_sets_have_nothing_in_common():
    found = near_duplicates(
        np.zeros((1, 2), np.int32), np.array([1]), np.empty(0, np.uint32), np.zeros(2, np.int64),
        np.zeros(2, np.int64), threshold=0.01, cap=9,
    )  # fmt: skip
    assert found.witness.tolist() == [-1, -1]


def test_sketches_do_not_depend_on_blocks():
    texts = [f"row number {i} of many, and {i % 7} more words in it" for i in range(3_000)] + ["", "!!!", "x"]
    whole = column_texts(pa.array(texts))
    n, zeros, tokens = np.full(len(texts), 3), np.zeros(len(texts), np.int64), np.zeros(len(texts), np.uint8)
    scheme = Scheme(5, 2, 1)
    at_once = sketch(Job(whole, n, zeros, tokens), scheme)
    parts = [sketch(Job(whole, n, zeros, tokens).rows(a, a + 700), scheme) for a in range(0, len(texts), 700)]
    for name in ("digests", "bands", "sets", "sizes", "leads", "plain", "signs", "symbolic"):
        assert np.array_equal(getattr(at_once, name), np.concatenate([getattr(p, name) for p in parts])), name


def test_sets_come_back_as_they_were_and_the_file_goes(tmp_path):
    path = tmp_path / "new" / "sets.partial"
    with SetFile(path) as sets:
        sets.append(np.array([1, 2, 3], np.uint32))
        sets.append(np.empty(0, np.uint32))
        sets.append(np.array([2**32 - 1], np.uint32))
        assert sets.values().tolist() == [1, 2, 3, 2**32 - 1]
    assert not path.exists()
    with pytest.raises(ZeroDivisionError), SetFile(path):
        raise ZeroDivisionError
    assert not path.exists()


def test_a_full_disk_is_named(tmp_path):
    with pytest.raises(StorageError), SetFile(tmp_path / "s") as sets:
        sets._file.close()
        with Path("/dev/full").open("wb") as full:
            sets._file = full
            sets.append(np.arange(100_000, dtype=np.uint32))
            sets.values()
