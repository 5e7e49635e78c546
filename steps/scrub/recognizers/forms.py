"""Values known by their form: a config's own patterns and words, labelled numbers, secrets. All RE2, so linear.

A form's score rises when one of its context words stands shortly before, by the figures of presidio's
LemmaContextAwareEnhancer (2.2.366: +0.35, to 0.4 at least, 5 words before).
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import re2

from steps.engines.fast_presidio.prefilter import Conditions
from steps.engines.scan.patterns import Pattern, PatternSet
from steps.scrub.config import CustomPattern, ScrubConfig
from steps.scrub.findings import Finding
from steps.scrub.readings import UNSPACED

_CONTEXT_WORDS = 5
_CONTEXT_BONUS = 0.35
_CONTEXT_LEAST = 0.4
# Chosen: five words of ordinary length fit several times.
_CONTEXT_CHARACTERS = 200
_WORD = re.compile(r"\w+")
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Form:
    """A form that values of `entity` have.

    Attributes:
        regex: RE2 pattern; what its group `value` matches (the whole match if it has none) is the value.
        score: compared with the threshold, with a bonus when one of `context` stands up to 5 words before.
        words: the regex is words that count between non-word characters only, in any case.
        confirm: says of a value whether it counts.
    """

    entity: str
    regex: str
    score: float = 1.0
    context: tuple[str, ...] = ()
    words: bool = False
    confirm: Callable[[str], bool] | None = None
    recognizer: str = "config"


class FormDetector:
    """Finds these forms under the config's thresholds; a TextDetector. One pass says which can stand in a text.

    `conditions`: RE2 expressions, one of which matches in every text with a finding; None: not known.

    Raises:
        ConfigError: RE2 refuses a pattern.
    """

    def __init__(self, forms: Sequence[Form], config: ScrubConfig) -> None:
        whole = PatternSet(
            [Pattern(f.entity, f.regex, word=f.words, ignore_case=f.words) for f in forms], "scrub.patterns"
        )
        regexes = [(f.regex, re.IGNORECASE if f.words else 0) for f in forms]
        self.conditions = necessary(regexes) if config.accelerate else None
        self._possible = whole if self.conditions is None else Conditions(self.conditions)
        self._finders = [_Finder(f, config.thresholds.get(f.entity, config.threshold)) for f in forms]

    def find(self, text: str) -> list[Finding]:
        """Findings of every form, in the order of the forms."""
        hits = self._possible.matching(text)
        # RE2 can't read a lone surrogate; one replacement character each keeps all offsets.
        seen = text if not hits or text.isascii() else _SURROGATES.sub("\ufffd", text)
        return [finding for number in hits for finding in self._finders[number].find(seen)]


class _Finder:
    """One form, compiled. `least` is the score that counts."""

    def __init__(self, form: Form, least: float) -> None:
        self._form = form
        self._least = least
        self._context = frozenset(word.casefold() for word in form.context)
        self._pattern: Any = (
            re.compile(rf"(?<!\w)(?:{form.regex})(?!\w)", re.IGNORECASE) if form.words else re2.compile(form.regex)
        )
        self._group = self._pattern.groupindex.get("value", 0)

    def find(self, text: str) -> Iterator[Finding]:
        for match in self._pattern.finditer(text):
            start, end = match.span(self._group)
            score = self._score(text, match.start())
            if end > start and score >= self._least and self._confirmed(text[start:end]):
                yield Finding(start, end, self._form.entity, score, self._form.recognizer)

    def _confirmed(self, value: str) -> bool:
        return self._form.confirm is None or self._form.confirm(value)

    def _score(self, text: str, start: int) -> float:
        before = _WORD.findall(text, max(0, start - _CONTEXT_CHARACTERS), start)[-_CONTEXT_WORDS:]
        if self._context.isdisjoint(map(str.casefold, before)):
            return self._form.score
        return min(1.0, max(_CONTEXT_LEAST, self._form.score + _CONTEXT_BONUS))


def necessary(regexes: Sequence[tuple[str, int]]) -> tuple[str, ...] | None:
    """For each expression (RE2's, with flags of `re`) a shorter one that matches wherever it does; None: not known."""
    from steps.engines.fast_presidio.relax import weakened

    weaker = [weakened(regex, flags) for regex, flags in regexes]
    return None if None in weaker else tuple(w for w in weaker if w)


def custom_forms(config: ScrubConfig) -> list[Form]:
    """The config's own words and patterns."""
    return [*_words(config), *_patterns(config)]


def _words(config: ScrubConfig) -> Iterator[Form]:
    for entity, words in sorted(config.deny.items()):
        longest_first = [w for w in sorted(words, key=lambda w: (-len(w), w)) if w.strip()]
        for unspaced in (False, True):
            # A name in Japanese has letters on both sides in any sentence.
            chosen = [re.escape(w) for w in longest_first if bool(UNSPACED.search(w[0] + w[-1])) == unspaced]
            if chosen:
                yield Form(entity, "|".join(chosen), words=not unspaced)


def _patterns(config: ScrubConfig) -> Iterator[Form]:
    for entity, given in sorted(config.patterns.items()):
        custom = CustomPattern(regex=given) if isinstance(given, str) else given
        yield Form(entity, custom.regex, custom.score, custom.context)
