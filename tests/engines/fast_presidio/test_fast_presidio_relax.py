"""Weakened patterns: RE2 finds something wherever the `regex` module does."""

import functools
import inspect
import random
import re
import unicodedata
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import pytest
import re2
import regex
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from presidio_analyzer import PatternRecognizer, predefined_recognizers
from support.near_pii import near_pii

from steps.engines.fast_presidio.regions import options
from steps.engines.fast_presidio.relax import Relaxed, relaxed, weakened
from steps.scrub.config import ScrubConfig
from steps.scrub.recognizers import address, zip_code_sentence
from steps.scrub.recognizers.all_forms import all_forms
from steps.scrub.recognizers.builtin import forms

FLAGS = int(regex.DOTALL | regex.MULTILINE | regex.IGNORECASE)
# The two planes that have digits, cased letters, spaces and marks.
EVERY_CHARACTER = "".join(chr(code) for code in range(0x20000) if not 0xD800 <= code < 0xE000)


@functools.cache
def known(pattern: str, flags: int = FLAGS) -> Relaxed:
    weaker = relaxed(pattern, flags)
    assert weaker is not None
    return weaker


@functools.cache
def unread(pattern: str, flags: int) -> bool:
    return relaxed(pattern, flags) is None


@pytest.mark.parametrize(
    "pattern",
    (
        *(r"\d", r"\w", r"\s", r"\D", r"\W", r"\S", r"[^\s()]", r"[^\w-]", r"[\d.]", r"[^\d]", r"[^\W]", "."),
        *("[a-z]", "[A-Z]", "[0-9A-F]", "[à-ÿ]", "[äÄ]", "[_]", "[^i]", "[^a-z]", "i", "K", "s", "ß", "ı", "ſ", "@"),
    ),
)
@pytest.mark.parametrize("flags", [FLAGS, int(regex.DOTALL)])
def test_a_class_holds_every_character_that_the_other_engine_takes(pattern: str, flags: int) -> None:
    theirs = "".join(regex.findall(pattern, EVERY_CHARACTER, flags=flags))
    ours = re2.compile(f"(?:{known(pattern, flags).core})*", options=options())
    assert theirs and ours.fullmatch(theirs)


@functools.cache
def presidio_patterns() -> list[tuple[str, str, int]]:
    """(recognizer, pattern, flags) of every pattern recognizer that presidio has, of any country."""
    kinds: list[tuple[str, Any]] = inspect.getmembers(predefined_recognizers, inspect.isclass)
    made = [kind() for _, kind in kinds if issubclass(kind, PatternRecognizer)]
    return [(r.name, p.regex, int(r.global_regex_flags)) for r in made for p in r.patterns]


def test_every_pattern_of_presidio_is_read() -> None:
    read = [relaxed(pattern, flags) for _, pattern, flags in presidio_patterns()]
    for weaker in read:
        assert weaker is None or re2.compile(weaker.condition, options=options())
    # Python's parser refuses flags in the middle of a pattern, as Italy's driving licence has them.
    unread = [name for (name, _, _), weaker in zip(presidio_patterns(), read, strict=True) if weaker is None]
    assert len(read) > 100 and unread == ["ItDriverLicenseRecognizer"]


@pytest.mark.slow
def test_no_match_is_lost() -> None:
    """Matches are made from the patterns themselves; counts the patterns that were met."""
    # Too large, or no pattern for Python's `re`.
    usable = [p for p in presidio_patterns() if "Url" not in p[0] and "(?<=" not in p[1] and not unread(*p[1:])]
    met = set()

    @settings(max_examples=1000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(usable).flatmap(lambda p: st.tuples(st.just(p), st.from_regex(re.compile(p[1], p[2])))))
    def no_match_is_lost(case: tuple[tuple[str, str, int], str]) -> None:
        (name, pattern, flags), text = case
        condition, core, characters = _compiled(pattern, flags)
        for match in regex.finditer(pattern, text, flags=flags):
            met.add((name, pattern))
            assert condition.search(text) and core.match(text, match.start()), name
            assert characters.fullmatch(match.group()), name

    no_match_is_lost()
    assert len(met) > 80, len(met)


@functools.cache
def _compiled(pattern: str, flags: int) -> tuple[Any, Any, Any]:
    weaker = known(pattern, flags)
    characters = f"(?:{'|'.join(sorted(weaker.characters))})*"
    return tuple(re2.compile(p, options=options()) for p in (weaker.condition, weaker.core, characters))  # type: ignore[return-value]


@settings(max_examples=150, deadline=None)
@given(near_pii())
def test_no_match_in_texts_with_nearly_personal_data_is_lost(text: str) -> None:
    for name, pattern, flags in presidio_patterns():
        if "Url" not in name and not unread(pattern, flags) and regex.search(pattern, text, flags=flags):
            assert _compiled(pattern, flags)[0].search(text), (name, pattern)


@pytest.mark.parametrize(
    "pattern", ["(?:abc){e<=1}", "[[:alpha:]]+", r"\p{L}+", "(a)?(?(1)b|c)", "[[a-z]--[aei]]", "(?:", "a{i}"]
)
def test_what_it_cannot_read_is_not_guessed(pattern: str) -> None:
    assert relaxed(pattern, FLAGS) is None


def test_word_boundaries_are_kept_where_both_sides_are_known() -> None:
    weaker = re2.compile(known(r"\b[0-9]{9}\b").condition)
    assert weaker.search("no 123456789.") and weaker.search("123456789") and weaker.search("é123456789é")
    assert not weaker.search("x123456789") and not weaker.search("1234567890") and not weaker.search("_123456789")
    assert re2.compile(known(r"\b[+]\d{3}\b").condition).search("a+123")


def test_what_a_pattern_looks_at_is_known() -> None:
    assert known(r"\bab\b").reach == 1 and not known(r"\bab\b").looks
    assert known("ab").reach == 0
    assert known(r"(?<![\w:])ab(?!\w|\.\d)").reach == 3 and known(r"(?<!x)ab").looks
    assert known("(?<=x(?<=yyx)a)b").reach == 2 + 4
    assert known("^ab$").reach is None
    assert known("(?<=[^a])b").reach is None
    assert unicodedata.unidata_version  # the tables that Python's own classes come from; RE2 has others


@functools.cache
def own_patterns() -> list[str]:
    """Every RE2 pattern of this package."""
    config = ScrubConfig(
        profile=("hipaa", "pci", "secrets"),
        entities=("AGE", "TITLE", "DATE_TIME", "CREDIT_CARD", "IBAN_CODE", "ZIP_CODE"),
        accept_uncovered=("PERSON", "LOCATION"),
        locales=("en_US", "en_GB", "de", "fr", "es"),
    )
    made = [*address.forms(), *zip_code_sentence.forms(), *forms(config), *all_forms(config)]
    return list(dict.fromkeys(form.regex for form in made))


def as_python(pattern: str) -> str:
    return re.sub(r"\\x\{(\w+)\}", lambda m: f"\\U{int(m[1], 16):08x}", pattern).replace(r"\z", r"\Z")


def example(items: Any, dice: random.Random) -> str:
    """A text that a parsed pattern matches, but for what its anchors ask."""
    return "".join(_example(kind, value, dice) for kind, value in items)


def _example(kind: Any, value: Any, dice: random.Random) -> str:
    if kind is op.LITERAL:
        return chr(value)
    if kind in (op.MAX_REPEAT, op.MIN_REPEAT):
        times = dice.randint(value[0], min(int(value[1]), value[0] + 2))
        return "".join(example(value[2], dice) for _ in range(times))
    if kind is op.SUBPATTERN:
        return example(value[3], dice)
    if kind is op.BRANCH:
        return example(dice.choice(value[1]), dice)
    if kind is op.IN:
        negated = value[0][0] is op.NEGATE
        return dice.choice("-x é7" if negated else [_member(*m, dice) for m in value])
    return "" if kind is op.AT else "?"


def _member(kind: Any, value: Any, dice: random.Random) -> str:
    if kind is op.RANGE:
        return chr(dice.choice([value[0], value[1], dice.randint(*value)]))
    return chr(value) if kind is op.LITERAL else {"d": "7", "w": "x", "s": " "}.get(str(value)[9:10].lower(), "-")


def test_no_match_of_our_patterns_is_lost_when_weakened() -> None:
    """Matches are made from the patterns themselves; they stand alone, among other text and between lines."""
    dice = random.Random(5)
    met = set()
    for pattern in own_patterns():
        exact, weaker = re2.compile(pattern), re2.compile(weakened(pattern) or "$.")
        tree = parser.parse(as_python(pattern))
        for near in ["", "", "x", "x\n", "9 ", "é"] * 6:
            whole = f"{near}{example(tree, dice)}{near}".encode("utf-8", "ignore").decode()
            if exact.search(whole):
                met.add(pattern)
                assert weaker.search(whole) and weaker.search(f"before\n{whole}\nbehind"), pattern
    assert len(met) > 0.8 * len(own_patterns()), set(own_patterns()) - met


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"\A\d{3}\z", "123"),
        (r"(?i)\bserial (?:no )?\d", "x\u017ferial 7"),
        (r"a[^\s]b", "a\vb"),
        (r"(?m)^x(?:y|)$", "xy"),
        (r"\\x{3}", "\\xxx"),
        (r"[\x{e9}-\x{ff}]+z", "\u00e9z"),
        (r"(?s)a.{0,3}b", "a\n\nb"),
        (r"(?:ab){2,9}c?", "abab"),
    ],
)
def test_weakened_patterns_match_what_re2_matches(pattern: str, text: str) -> None:
    assert re2.search(pattern, text)
    weaker = weakened(pattern)
    assert weaker is not None and re2.search(weaker, text)


def test_what_may_be_missing_at_the_edges_is_left_out() -> None:
    weaker = weakened(r"\b(?:no\. )?(?:[A-Z] ){0,3}ab{2,}(?:c|de)?\s*$")
    assert weaker is not None
    assert re2.fullmatch(weaker, "abb") and not re2.search(weaker, "ab") and not re2.search(weaker, "bb")


@pytest.mark.parametrize("pattern", [r"\p{L}x", "x*", "(?:a|b?)", "[[:alpha:]]x", "a{,3}b", r"\Qa\E", "(?:", "a(?i)b"])
def test_a_pattern_that_cannot_be_weakened_is_not_guessed(pattern: str) -> None:
    assert weakened(pattern) is None
