import re

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.contracts.errors import ConfigError
from steps.engines.scan.patterns import Hit, Pattern, PatternSet

WORDS = ["cat", "do+g", r"a\d{2,3}b", "[xy]z", "é+"]
SET = PatternSet([Pattern(w, w) for w in WORDS], "test")


@given(st.text("catdog0123abxyzéÉ \n\ud800", max_size=60))
def test_hits_are_what_one_by_one_search_finds(text: str) -> None:
    expected = [Hit(n, *m.span()) for n, w in enumerate(WORDS) for m in re.finditer(w, text, re.IGNORECASE)]
    assert SET.hits(text) == expected


def test_word_patterns_need_unicode_boundaries() -> None:
    terms = PatternSet([Pattern("t", "cunt|thor", word=True)], "test")
    assert terms.hits("Scunthorpe écunt cunté thor_") == []
    assert len(terms.hits("a cunt, Thor!")) == 2


def test_confirm_says_what_re2_cannot() -> None:
    same = PatternSet([Pattern("same", r"\w+ = \w+", confirm=r"(\w+) = \1")], "test")
    assert [(h.start, h.end) for h in same.hits("a = b; c = c")] == [(7, 12)]


def test_case_can_matter() -> None:
    assert not PatternSet([Pattern("t", "abc", ignore_case=False)], "test").hits("ABC")


def test_refused_patterns_are_named() -> None:
    with pytest.raises(ConfigError, match=r"screen: odd.*\(\?="):
        PatternSet([Pattern("odd", "(?=x)")], "screen")
    assert PatternSet([], "test").hits("anything") == []


@given(st.lists(st.text("catdog0123abxyzéÉ \n\0", max_size=12), max_size=40), st.integers(0, 3))
@settings(deadline=None)
def test_the_first_pass_names_every_text_with_a_hit(texts: list[str], skip: int) -> None:
    column = pa.array(texts, pa.string()).slice(min(skip, len(texts)))
    named = SET.texts_matching(column)
    assert named.tolist() == [bool(SET.hits(text)) for text in texts[skip:]]


def test_neighbours_neither_lend_nor_hide_a_match(monkeypatch: pytest.MonkeyPatch) -> None:
    words = PatternSet([Pattern("cat", "cat", word=True), Pattern("dog", r"(?m)^dog$")], "test", [Pattern("x", "x")])
    column = pa.array(["ca", "t", "a cat", "dog", "catdog", "", "dogs", "écat", "x"])
    expected = [False, False, True, True, False, False, False, True, True]
    for size in (1, 3, 1 << 20):
        monkeypatch.setattr("steps.engines.scan.patterns._PIECE_BYTES", size)
        assert words.texts_matching(column).tolist() == expected
    assert words.hits("écat x") == []
    assert not PatternSet([], "test").texts_matching(column).any()


def test_a_pattern_that_python_backtracks_on_is_linear_here() -> None:
    """`(a+)+b` takes Python's `re` 2**n steps on n letters a; RE2 has no backtracking, so a megabyte ends."""
    evil = PatternSet([Pattern("evil", "(a+)+b"), Pattern("nested", "(?:(?:a|aa)+)+$")], "test")
    attack = "a" * 1_000_000 + "!"
    assert evil.texts_matching(pa.array([attack])).tolist() == [False]
    assert evil.hits(attack) == []
    assert [h.end for h in evil.hits("a" * 50_000 + "b")] == [50_001]


def test_patterns_that_are_too_large_together_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steps.engines.scan.patterns._MAX_BYTES", 1 << 20)
    large = [Pattern(str(n), f"x{n}" + r"[\pL\pN]{9}") for n in range(40)]
    assert PatternSet(large[:1], "screen").hits("x0" + "a" * 9)
    with pytest.raises(ConfigError, match="too large together"):
        PatternSet(large, "screen")


@given(st.lists(st.text("ab1 ", max_size=12), max_size=12))
@settings(deadline=None)
def test_what_a_pattern_needs_changes_no_hit(texts: list[str]) -> None:
    plain = PatternSet([Pattern("x", "a[^b]{0,4}b1")], "test")
    gated = PatternSet([Pattern("x", "a[^b]{0,4}b1", needs="b1")], "test")
    assert [gated.hits(t) for t in texts] == [plain.hits(t) for t in texts]
    named = gated.texts_matching(pa.array(texts, pa.string()))
    assert all(n or not plain.hits(t) for n, t in zip(named, texts, strict=True))


BOUNDED = ("ab", "aab?", "a+b", "(?:a|ab)(?:ba)?", "é?ab", "a b|ab", "(?:ab )+a")


@given(text=st.text(alphabet="aabb éx1", max_size=40))
def test_words_are_where_python_alone_finds_them(text: str) -> None:
    patterns = PatternSet([Pattern(f"w{n}", word, word=True) for n, word in enumerate(BOUNDED)], "test")
    truth = [
        Hit(n, *match.span())
        for n, word in enumerate(BOUNDED)
        for match in re.finditer(rf"(?<!\w)(?:{word})(?!\w)", text, re.IGNORECASE)
    ]
    assert patterns.hits(text) == truth
