"""Whether presidio's phone recognizer can find anything in a text, without running it once per region."""

import functools
import re
from collections.abc import Iterator, Sequence
from typing import Any

import phonenumbers
from phonenumbers import PhoneMetadata, PhoneNumberMatcher, phonenumbermatcher, phonenumberutil

# Chosen: beyond this the matcher's own limit of 65,535 tries could come into play, and it must decide by itself.
_MOST_CANDIDATES = 400
# Chosen: years, prices and sizes come again and again; what surrounds them is part of what is remembered.
_REMEMBERED = 1 << 16
_PLUS = ("+", "\uff0b")
# A country code and a number; no country has valid ones of fewer digits (a test asks all of them).
_LEAST_ABROAD = 5
# A time stamp is told from a number by the three characters behind it.
_BEHIND = 3


class Phones:
    """Asks libphonenumber about each number-like part of a text once, for all regions.

    All regions go through the same candidates as long as none is a number, so if no region takes any of them, the
    recognizer finds nothing.
    """

    def __init__(self, recognizer: Any) -> None:
        self._leniency = recognizer.leniency
        self._least = {region: _least_digits(region) for region in recognizer.supported_regions}
        # Fewer make a number in none of these regions, nor after another country's code.
        self.least_digits = min(*self._least.values(), _LEAST_ABROAD)
        self._is_number = functools.lru_cache(_REMEMBERED)(self._asked)

    def possible(self, text: str) -> bool:
        """False: the recognizer finds no number in the text."""
        for count, (start, candidate) in enumerate(_candidates(text)):
            if count == _MOST_CANDIDATES:
                return True
            end = start + len(candidate)
            if self._is_number(text[start - 1 : start] if start else "", candidate, text[end : end + _BEHIND]):
                return True
        return False

    def _asked(self, before: str, candidate: str, behind: str) -> bool:
        digits = "".join(c for c in phonenumbers.normalize_digits_only(candidate) if c.isdigit())
        # After a plus sign or an international prefix (00, 011, 0012 ...) another country's lengths count.
        international = "00" in digits or "01" in digits or any(plus in candidate for plus in _PLUS)
        window = before + candidate + behind
        for region, least in self._least.items():
            if international or len(digits) >= least:
                matcher = PhoneNumberMatcher(window, region, leniency=self._leniency)
                if matcher._extract_match(candidate, len(before)) is not None:
                    return True
        return False


def _candidates(text: str) -> Iterator[tuple[int, str]]:
    """What PhoneNumberMatcher looks at while it finds nothing: (start, candidate)."""
    pattern: re.Pattern[str] = phonenumbermatcher._PATTERN
    second: re.Pattern[str] = phonenumberutil._SECOND_NUMBER_START_PATTERN
    match = pattern.search(text)
    while match:
        candidate = match.group()
        if cut := second.search(candidate):
            candidate = candidate[: cut.start()]
        yield match.start(), candidate
        match = pattern.search(text, match.start() + len(candidate))


@functools.lru_cache
def _least_digits(region: str) -> int:
    """Digits of the shortest valid number of the regions that share the region's country code."""
    code = phonenumbers.country_code_for_region(region)
    sharing: Sequence[str] = phonenumbers.region_codes_for_country_code(code)
    descriptions: list[Any] = [PhoneMetadata.metadata_for_region(r) for r in sharing]
    return int(min(min(d.general_desc.possible_length) for d in descriptions))
