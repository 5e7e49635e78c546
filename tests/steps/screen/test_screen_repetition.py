from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.screen.config import Repetition
from steps.screen.repetition import (
    duplicate_fractions,
    duplicate_ngram_fraction,
    first_excess,
    top_ngram_fraction,
)

WORDS = st.lists(st.sampled_from(["a", "bb", "ccc"]), max_size=40)
PROSE = " ".join(f"word{i} goes{i % 37} along{i % 11}" for i in range(200))


def covered(words: list[str], n: int) -> float:
    """Second implementation: mark every character position of every n-gram seen before."""
    marks = [False] * len(words)
    for i in range(len(words) - n + 1):
        if any(words[j : j + n] == words[i : i + n] for j in range(i)):
            marks[i : i + n] = [True] * n
    return sum(len(w) for w, m in zip(words, marks, strict=True) if m) / max(1, sum(map(len, words)))


@given(WORDS, st.integers(2, 6))
def test_duplicate_ngrams_count_each_character_once(words: list[str], n: int) -> None:
    assert duplicate_ngram_fraction(words, n) == pytest.approx(covered(words, n))


@given(WORDS, st.integers(5, 8))
def test_longer_ngrams_never_cover_more(words: list[str], n: int) -> None:
    """What `first_excess` relies on when it skips longer n-grams."""
    assert duplicate_ngram_fraction(words, n + 1) <= duplicate_ngram_fraction(words, n)


@given(WORDS)
def test_top_ngram(words: list[str]) -> None:
    grams = Counter(tuple(words[i : i + 2]) for i in range(len(words) - 1))
    best = max((c for c in grams.values()), default=0)
    expected = 0.0
    if best > 1:
        longest = max(len("".join(g)) for g, c in grams.items() if c == best)
        expected = min(1.0, best * longest / sum(map(len, words)))
    assert top_ngram_fraction(words, 2) == pytest.approx(expected)


def test_duplicate_lines_by_count_and_by_size() -> None:
    assert duplicate_fractions(["aaaa", "b", "aaaa", "aaaa"]) == (0.5, 8 / 13)
    assert duplicate_fractions([]) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("I am sorry, I can not. " * 20, "loop"),
        (PROSE + "\nthe same line again" * 150, "duplicate_lines"),
        (PROSE + " very very" * 200, "top_2gram"),
    ],
)
def test_repetitive_texts_are_caught(text: str, rule: str) -> None:
    bounds = Repetition() if rule == "loop" else Repetition(loop=1.0)
    excess = first_excess(text, bounds, 100)
    assert excess is not None and excess[0] == rule


@pytest.mark.parametrize("text", [PROSE, "no no no no " * 8, "7 * 8 = 56, 56 * 8 = 448, 448 * 8 = 3584", ""])
def test_ordinary_and_short_texts_pass(text: str) -> None:
    assert first_excess(text, Repetition(), 100) is None


def test_the_paper_holds_from_min_words_on() -> None:
    text = PROSE + " very very" * 200
    assert first_excess(text, Repetition(loop=1.0), 2000) is None
