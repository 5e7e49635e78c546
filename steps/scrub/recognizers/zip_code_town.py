"""ZIP_CODE beside the name of its own town: "Springfield 62704", "62704 Springfield", on one line or two.

The code is one by evidence and not by form: the package `zipcodes` knows which places it belongs to, so that an order
62704, or Springfield's 55555 inhabitants, are none.
"""

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from steps.scrub.config import ScrubConfig
from steps.scrub.findings import Finding
from steps.scrub.recognizers import zip_code
from steps.scrub.recognizers.letters import RECOGNIZER

# Holds wherever a five-digit number has a word beside it.
CONDITION = r"[A-Za-z.,]\s{1,4}[0-9]{5}\b|\b[0-9]{5}(?:-[0-9]{4})?,?\s{1,4}[A-Za-z]"
# A coincidence needs one of a town's few codes among 100,000; chosen: surer than a form, less so than a label.
_SCORE = 0.7
_CODE = re.compile(r"(?<![\w$€£#./-])(?P<prefix>\d{3})\d{2}(?:-\d{4})?(?![\w%-]|[.,]\d)", re.ASCII)
# Words of one name, or the line's end before the code.
_GAP = r"[ \t]{1,2}"
_BREAK = r"(?:,?[ \t]?\r?\n[ \t>]{0,2}|,?[ \t]{1,2})"
_WORD = r"[A-Za-z][A-Za-z.'’-]{0,24}"
# The longest names have five words; measured on zipcodes 3.0.0.
_MOST_WORDS = 5
_MOST_CHARACTERS = 60
_BEFORE = re.compile(rf"(?P<words>(?:{_WORD}{_GAP}){{0,{_MOST_WORDS - 1}}}{_WORD}){_BREAK}\Z")
_BEHIND = re.compile(rf"{_BREAK}(?P<words>{_WORD}(?:{_GAP}{_WORD}){{0,{_MOST_WORDS - 1}}})")
# "NY" and "St" are names in the package's lists; here they would be words.
_LEAST_LETTERS = 3
# USPS Publication 28, appendix B and section 23: how names of towns are abbreviated.
_LONG = {"st": "saint", "ste": "sainte", "ft": "fort", "mt": "mount", "n": "north", "s": "south", "e": "east",
         "w": "west"}  # fmt: skip


class ZipCodeTownDetector:
    """American codes beside their towns; a TextDetector. `least` is the score that counts."""

    def __init__(self, config: ScrubConfig) -> None:
        self._counts = config.thresholds.get(zip_code.ENTITY, config.threshold) <= _SCORE

    def find(self, text: str) -> list[Finding]:
        """Codes in text order."""
        return [] if not self._counts else list(self._codes(text))

    def _codes(self, text: str) -> Iterator[Finding]:
        for code in _CODE.finditer(text):
            before = _BEFORE.search(text, max(0, code.start() - _MOST_CHARACTERS), code.start())
            behind = _BEHIND.match(text, code.end(), code.end() + _MOST_CHARACTERS)
            if not (before or behind):
                continue
            names = _names(code["prefix"]).get(code.group()[:5], frozenset())
            if names and (
                (before and _ends_in(before["words"], names)) or (behind and _begins(behind["words"], names))
            ):
                yield Finding(code.start(), code.end(), zip_code.ENTITY, _SCORE, RECOGNIZER)


def _ends_in(words: str, names: frozenset[str]) -> bool:
    parts = _plain(words).split()
    return any(" ".join(parts[first:]) in names for first in range(len(parts)))


def _begins(words: str, names: frozenset[str]) -> bool:
    parts = _plain(words).split()
    return any(" ".join(parts[:last]) in names for last in range(1, len(parts) + 1))


def _plain(name: str) -> str:
    """As names are compared: small letters without marks, the usual abbreviations written out."""
    words = re.sub(r"[.'’]", "", name).replace("-", " ").casefold().split()
    return " ".join(_LONG.get(word, word) for word in words)


@functools.cache
def _names(prefix: str) -> Mapping[str, frozenset[str]]:
    """code -> names of its places, of all codes with these first three digits; at most 1000 such answers are kept."""
    import zipcodes

    # Typed by its compiled part only.
    similar_to: Callable[[str], list[dict[str, Any]]] = zipcodes.similar_to
    return {
        found["zip_code"]: frozenset(
            _plain(name)
            for name in (found["city"], *found["acceptable_cities"], *found["unacceptable_cities"])
            if len(name) >= _LEAST_LETTERS
        )
        for found in similar_to(prefix)
    }
