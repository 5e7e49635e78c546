import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.engines.text import shingles as module
from steps.engines.text.shingles import WordHashes, distinct, shingles, shingles_of

TEXTS = st.lists(st.lists(st.sampled_from("abc"), max_size=9), max_size=8)


def naive(text, n):
    """The shingles as tuples of words."""
    if not text:
        return []
    return [tuple(text[i : i + n]) for i in range(len(text) - n + 1)] or [tuple(text)]


@given(TEXTS, st.integers(1, 6))
def test_hashes_name_shingles_one_to_one(texts, n):
    ragged = shingles(WordHashes().of(texts), n)
    expected = [naive(t, n) for t in texts]
    assert [len(ragged[i]) for i in range(len(ragged))] == [len(e) for e in expected]
    pairs = set(zip(itertools.chain(*expected), ragged.values.tolist(), strict=True))
    assert len(pairs) == len({s for s, _ in pairs}) == len({h for _, h in pairs})


@given(TEXTS, st.integers(1, 4), st.integers(1, 20))
def test_batches_change_nothing(texts, n, batch):
    whole = shingles(WordHashes().of(texts), n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BATCH_TOKENS", batch)
        parts = list(shingles_of(texts, WordHashes(), n))
    assert len(parts) == len(texts)
    for i, part in enumerate(parts):
        assert part.tolist() == whole[i].tolist()


def test_the_order_of_words_matters_and_so_does_the_salt():
    hashes = WordHashes()
    a, b = (next(shingles_of([t], hashes, 3)) for t in (["x", "y", "z"], ["z", "y", "x"]))
    salted = next(shingles_of([["x", "y", "z"]], hashes, 3, salt=1))
    assert len({int(a[0]), int(b[0]), int(salted[0])}) == 3


def test_word_hashes_stay_the_same_when_the_cache_overflows(monkeypatch):
    monkeypatch.setattr(module, "_VOCABULARY_WORDS", 10)
    small, large = WordHashes(), WordHashes()
    many = [[f"w{i % 37}" for i in range(500)] + ["x" * 100, "\ud800"]]
    first = small.of(many).values
    assert len(small) <= 10
    monkeypatch.setattr(module, "_VOCABULARY_WORDS", 10_000)
    assert first.tolist() == large.of(many).values.tolist()


@given(st.lists(st.integers(0, 20)))
def test_distinct_is_a_sorted_set(values):
    assert distinct(np.array(values, np.uint64)).tolist() == sorted(set(values))
