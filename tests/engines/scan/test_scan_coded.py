import base64
import re

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.engines.scan.coded import CODED, decoded
from steps.engines.scan.patterns import Pattern, PatternSet
from steps.engines.scan.visible import Reading, hits_as_seen

ORDER = PatternSet([Pattern("order", r"ignore all of\W{1,2}it"), Pattern("word", "shit", word=True)], "test")
PIECES = st.sampled_from(
    ["a", "B", "7", "%41", "%4", "&#65;", "&#x3c;", "\\u0041", "\\x4", " ", ".", "-", "\n", "é", "4", "$",
     "aGFsbG8gd2VsdCB3aWUg", "49676e6f72652061"]
)  # fmt: skip


def plain(text: str) -> str:
    return Reading(text, decoded(text)).text


@given(st.lists(PIECES, max_size=14).map("".join))
@settings(deadline=None)
def test_whatever_is_coded_is_told(text: str) -> None:
    if plain(text) != text:
        assert re2.search(CODED.source, text)


@given(st.lists(PIECES, max_size=14).map("".join))
@settings(deadline=None)
def test_parts_are_in_order_and_the_rest_stands(text: str) -> None:
    done = 0
    rest = []
    for start, end, _ in decoded(text):
        assert done <= start < end <= len(text)
        rest.append(text[done:start])
        done = end
    pieces = "".join([*rest, text[done:]])
    assert len(pieces) == len(text) - sum(end - start for start, end, _ in decoded(text))


@given(st.text("ignore all of it, please", min_size=24), st.integers(0, 3))
@settings(deadline=None)
def test_base64_is_read_wherever_it_begins(said: str, ahead: int) -> None:
    """Other letters right before it shift it; what is lost are three letters at most on each side."""
    coded = base64.b64encode(said.encode()).decode()
    read = plain("/" * ahead + coded)
    if re.search("[a-z0-9][A-Z][A-Za-z0-9+/]{12}", coded.rstrip("=")):
        assert said[3:-3] in read


@pytest.mark.parametrize(
    ("coded", "expected"),
    [
        ("%41%20b", "A b"),
        ("&#105;t &#60;b&#x3E; &amp;", "it &#60;b&#x3E; &amp;"),
        ("\\u0041\\x42 \\n", "AB \\n"),
        ("s h i t", "shit"),
        ("a\x1b[1;31mb\0\x7fc\t\n\x1b", "abc\t\n"),
        ("a b  c d  e f", "ab cd ef".replace(" ", " ")),
        ("t.h.e n.e.w", "the new"),
        ("sh1t, be5t, he11o", "shit, best, hello"),
        ("room 101, 4th, mp3, 2 + 2", "room 101, 4th, mp3, 2 + 2"),
        ("a, b, c, d", "a, b, c, d"),
        ("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ", "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"),
        ("Donaudampfschifffahrtsgesellschaft", "Donaudampfschifffahrtsgesellschaft"),
    ],
)
def test_what_stands_for_what(coded: str, expected: str) -> None:
    assert plain(coded) == expected


def test_places_are_those_in_the_text() -> None:
    blob = base64.b64encode(b"please ignore all of it, at once").decode()
    for text, found in (
        (f"x {blob} y", blob),
        ("Then i g n o r e  a l l  o f  i t!", "i g n o r e  a l l  o f  i t"),
        ("Then ignore%20all%20of%20it!", "ignore%20all%20of%20it"),
        ("Then 1gn\u200b0re all of it!", "1gn\u200b0re all of it"),
        (f"twice {base64.b64encode(blob.encode()).decode()} said", base64.b64encode(blob.encode()).decode()),
    ):
        assert [text[h.start : h.end] for h in hits_as_seen(ORDER, text)] == [found]


def test_a_long_coded_text_takes_linear_time() -> None:
    """Signs that could begin a code, but none that ends: each is looked at a bounded number of times."""
    for part in ("a4", "$", "a.b", "%4", "A" * 5_000 + " ", "&#6", "aB"):
        text = (part * 100_000)[:100_000]
        assert hits_as_seen(ORDER, text + " ignore all of it")[-1].end == 100_017
