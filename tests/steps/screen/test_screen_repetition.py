from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.screen.config import Repetition
from steps.screen.repetition import (
    duplicate_fractions,
    duplicate_ngram_fraction,
    first_excess,
    may_exceed,
    texts_exceeding,
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


SPACES = st.sampled_from(
    [" ", "  ", "\n", "\n\n", "\r\n", " \n \n", "\t", "\u00a0", "\u2028", "\x85", "\u3000", "\x1c", "\u200b"]
)
PARTS = st.tuples(st.sampled_from(["a", "bb", "\u00fc\u00df", "你", "ccc dd", "line of its own", "\0"]), SPACES)
TEXTS = st.lists(PARTS, max_size=60).map(lambda parts: "".join(word + space for word, space in parts))
BOUNDS = st.builds(
    Repetition,
    loop_min_words=st.integers(1, 12),
    loop=st.floats(0.1, 0.9),
    duplicate_lines=st.floats(0.1, 1),
    duplicate_paragraphs=st.floats(0.1, 1),
    duplicate_line_characters=st.floats(0.1, 1),
    duplicate_paragraph_characters=st.floats(0.1, 1),
    top_ngram_characters=st.dictionaries(st.integers(2, 4), st.floats(0.1, 1)),
    duplicate_ngram_characters=st.dictionaries(st.integers(3, 8), st.floats(0.1, 1)),
)


@pytest.mark.slow
@pytest.mark.parametrize("from_bytes", [0, 1 << 40])
@given(st.lists(TEXTS, min_size=1, max_size=6), BOUNDS, st.integers(1, 20))
@settings(deadline=None)
def test_a_column_is_judged_as_its_texts_are(from_bytes: int, texts: list[str], bounds: Repetition, least: int) -> None:
    """The compiled pass names what `first_excess` finds; with exact spacing it names nothing else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("steps.screen.repetition._COMPILED_FROM_BYTES", from_bytes)
        found = texts_exceeding(pa.array(["", *texts]).slice(1), np.full(len(texts), least), bounds)
    expected = [first_excess(text, bounds, least) is not None for text in texts]
    assert all(f or not e for f, e in zip(found, expected, strict=True))
    if from_bytes == 0:
        plain = [" ".join(t.split(" ")) == t and not set(t) & set("\t\x1c\u00a0\u3000\u200b") for t in texts]
        assert all(f == e for f, e, p in zip(found, expected, plain, strict=True) if p)


def test_long_texts_are_always_named() -> None:
    prose = " ".join(f"w{i}" for i in range(200_000))
    column = pa.array([prose, "a " * 600_000])
    assert texts_exceeding(column, np.array([300, 300]), Repetition()).tolist() == [True, True]
    assert may_exceed(prose, Repetition(), 300) and not may_exceed(prose[:900], Repetition(), 300)


def test_a_huge_text_is_judged_by_its_beginning() -> None:
    """Memory and time don't grow with what follows: fifteen million characters are read no further than one."""
    prose = " ".join(f"w{i}" for i in range(160_000))[:1_000_000]
    assert first_excess(prose + " again and again" * 1_000_000, Repetition(), 100) is None
    assert first_excess(" again and again" * 1_000_000, Repetition(), 100) == first_excess(
        (" again and again" * 100_000)[:1_000_000], Repetition(), 100
    )
