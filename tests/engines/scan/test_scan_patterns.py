import re

import pytest
from hypothesis import given
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
