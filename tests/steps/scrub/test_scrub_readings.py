"""What is read for what stands there, and where it stands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.engines.scan.patterns import PatternSet
from steps.engines.scan.visible import DISGUISED, VisibleText
from steps.scrub.prescan import Prescan
from steps.scrub.pseudonyms.pseudonym import normalised
from steps.scrub.readings import READ_OTHERWISE, Unescaped, views

CHARACTERS = "ab1_ @.-%25&#;x4\\u0commatéпс漢はไ한ا\u200bＡ＠　\U00020000"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("メールはtaro@example.jpまで", "メールは taro@example.jp まで"),
        ("第3章", "第 3 章"),
        ("почта:ivan@example.ruтел", "почта:ivan@example.ru тел"),
        ("на example.ruсайт", "на example.ru сайт"),
        ("IP是１９２．１", "IP 是 192.1"),
        ("例\u200ba", "例 a"),
        # In disguise, not of another script.
        ("раypаl", "paypal"),
        ("café12", "café12"),
        ("straße_1", "straße_1"),
    ],
)
def test_an_edge_is_read_between_scripts(text: str, seen: str) -> None:
    assert views(text)[0].text == seen


def test_letters_that_look_latin_are_read_twice() -> None:
    assert [v.text for v in views("nikos@example.grκαι")] == ["nikos@example.grkai", "nikos@example.gr και"]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("jane%40example.org", "jane@example.org"),
        ("jane%2540example.org", "jane@example.org"),
        ("j%C3%BCrgen%40example.org", "jürgen@example.org"),
        ("jane&#64;example&#x2E;org", "jane@example.org"),
        ("jane&amp;#064;example.org", "jane@example.org"),
        ("jane&commat;example&period;org", "jane@example.org"),
        ("jane\\u0040example.org \\x41", "jane@example.org A"),
        ("+49&nbsp;30&nbsp;901820", "+49 30 901820"),
    ],
)
def test_escapes_are_written_out(text: str, plain: str) -> None:
    assert Unescaped(text).text == plain


def test_what_is_no_escape_stays() -> None:
    assert not Unescaped("100% of A&B; 5 %d &lt;b&gt; &unknown; &#xD800; &#9999999; %ff%fe \\x0 \\u1234").changed


@given(st.text(st.sampled_from(CHARACTERS), max_size=30))
def test_places_are_those_of_the_text(text: str) -> None:
    for view in views(text):
        last = 0
        for at, character in enumerate(view.text):
            if character.isalnum():
                start, end = view.place(at, at + 1)
                assert last <= start < end <= len(text)
                last = start
    unescaped = Unescaped(text)
    for at in range(len(unescaped.text)):
        place = unescaped.place(at, at + 1)
        assert (place is None) == (unescaped.text[at] in text and not _escaped(text, unescaped, at))


def _escaped(text: str, unescaped: Unescaped, at: int) -> bool:
    start, end = unescaped._reading.place(at, at + 1)
    return text[start:end] != unescaped.text[at]


@given(st.text(st.sampled_from(CHARACTERS), max_size=30))
def test_the_first_look_knows_what_is_read_otherwise(text: str) -> None:
    otherwise = [v.text for v in views(text)] != [VisibleText(text).text] or Unescaped(text).changed
    patterns = PatternSet([DISGUISED, *READ_OTHERWISE, *Prescan([])._sets[0].patterns], "test")
    assert patterns.matching(text) or not otherwise


def test_an_escaped_value_has_the_pseudonym_of_the_value() -> None:
    written = ("jane%40example.org", "Jane@Example.org", "jane&#64;example.org", "ｊane@example.org")
    assert {normalised("EMAIL_ADDRESS", value) for value in written} == {"jane@example.org"}
