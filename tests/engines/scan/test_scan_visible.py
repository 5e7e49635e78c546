import re
from itertools import pairwise

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from steps.engines.scan.patterns import Pattern, PatternSet
from steps.engines.scan.visible import DISGUISED, VisibleText, hits_as_seen

# What a text may be made of: plain, hidden, spaces, styled, small capitals, marks, imitations, and honest letters.
ALPHABET = (
    "aZ1 <é\u00df\u4f60\u0436\u200b\u00ad\ufeff\u00a0\u2028\uff41\uff1c\uff0c\U0001d41a\ufb01\u026a"
    "\u0301\ufe0f\u0430\u0435\u03bf"
)


@given(st.text("aé\u200b\u00ad\ufeff1", max_size=20), st.data())
def test_places_hold_the_same_visible_characters(original: str, data: st.DataObject) -> None:
    seen = VisibleText(original)
    assert seen.text == "".join(c for c in original if c in "aé1")
    if seen.text:
        start = data.draw(st.integers(0, len(seen.text) - 1))
        end = data.draw(st.integers(start + 1, len(seen.text)))
        low, high = seen.place(start, end)
        assert VisibleText(original[low:high]).text == seen.text[start:end]
        assert original[low] == seen.text[start] and original[high - 1] == seen.text[end - 1]


@given(st.text(ALPHABET, max_size=12))
def test_places_follow_each_other(original: str) -> None:
    """Each seen character has a place, places ascend, and what no replacement covers stands there as it is."""
    seen = VisibleText(original)
    places = [seen.place(i, i + 1) for i in range(len(seen.text))]
    for (low, high), (later, _) in pairwise(places):
        assert low < high and (later >= high or later == low)
    for character, (low, high) in zip(seen.text, places, strict=True):
        assert 0 <= low < high <= len(original)
        if character in "1\u00df\u4f60\u0436":
            assert original[low:high] == character


@given(st.text(ALPHABET, max_size=12))
def test_whatever_is_disguised_is_told(original: str) -> None:
    """Full-width punctuation alone changes nothing that a pattern looks for."""
    if VisibleText(original).text != original.replace("\uff0c", ","):
        assert re2.search(DISGUISED.source, original)


@pytest.mark.parametrize(
    ("disguised", "plain"),
    [
        ("ign\u200bore\u00adall", "ignoreall"),
        ("\uff49\uff47\uff4e\uff4f\uff52\uff45 \uff1cscript\uff1e", "ignore <script>"),
        ("\U0001d422\U0001d420\U0001d427\U0001d428\U0001d42b\U0001d41e \u24d0ll", "ignore all"),
        ("\u026a\u0262\u0274\u1d0f\u0280\u1d07", "ignore"),
        ("\u0456gn\u043er\u0435 \u0430ll", "ignore all"),
        ("i\u0336g\u0336n\u0336o\u0336r\u0336e\u0336", "ignore"),
        ("ignore\u00a0all\u3000of\u2003it", "ignore all of it"),
        ("i\u200b\u0433\u0435\u200bx", "i\u0433ex"),
    ],
)
def test_disguises(disguised: str, plain: str) -> None:
    assert VisibleText(disguised).text == plain


@pytest.mark.parametrize(
    "text",
    [
        "naïve Grüße",
        "\u0421\u043e\u0441\u043d\u0430 \u0438 \u0440\u0430\u043a\u0438",
        "\u03b1 + \u03b2 = \u03b3",
        "你好，世界",
        "e = 2",
        "👍 1\ufe0f\u20e3",
    ],
)
def test_honest_texts_are_left_alone(text: str) -> None:
    assert re.sub("\uff0c", ",", text) == VisibleText(text).text and not re2.search(DISGUISED.source, text)


WORDS = PatternSet(
    [Pattern("az", "a+z", word=True), Pattern("one", "1(?:a|z){1,3}"), Pattern("mark", "\u0301")], "test"
)


@given(st.text(ALPHABET, max_size=40), st.integers(1, 9))
def test_windows_make_no_difference(text: str, window: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        whole = hits_as_seen(WORDS, text)
        patch.setattr("steps.engines.scan.visible._WINDOW", window)
        patch.setattr("steps.engines.scan.visible._LONGEST_MATCH", 60)
        assert hits_as_seen(WORDS, text) == whole
    assert {(h.pattern, h.start, h.end) for h in WORDS.hits(text)} <= {(h.pattern, h.start, h.end) for h in whole}
