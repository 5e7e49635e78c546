"""presidio's phone recognizer, asking libphonenumber about each number-like part of a text once for all regions.

The recognizer lets libphonenumber go through the whole text once per region. What it looks at, and what it finds
there, depends on the part itself and the few characters around it; so that is asked once and remembered.
"""

import functools
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import phonenumbers
from phonenumbers import PhoneMetadata, PhoneNumberMatcher, phonenumbermatcher, phonenumberutil
from presidio_analyzer import EntityRecognizer, RecognizerResult

# Chosen: beyond this the matcher's own limit of 65,535 tries could come into play, and it must decide by itself.
_MOST_CANDIDATES = 400
# Chosen: years, prices and sizes come again and again; what surrounds them is part of what is remembered.
_REMEMBERED = 1 << 16
_PLUS = ("+", "\uff0b")
# A country code and a number; no country has valid ones of fewer digits (a test asks all of them).
_LEAST_INTERNATIONAL = 5
# A time stamp is told from a number by the three characters behind it.
_BEHIND = 3
_PATTERN: re.Pattern[str] = phonenumbermatcher._PATTERN
_SECOND_NUMBER: re.Pattern[str] = phonenumberutil._SECOND_NUMBER_START_PATTERN


class _Candidate(NamedTuple):
    start: int
    text: str

    @property
    def end(self) -> int:
        return self.start + len(self.text)


class _Match(NamedTuple):
    """What the recognizer reads of libphonenumber's matches."""

    start: int
    end: int


class Phones:
    """Finds what the recognizer finds."""

    def __init__(self, recognizer: Any) -> None:
        self._recognizer = recognizer
        self._regions: tuple[str, ...] = tuple(recognizer.supported_regions)
        self._least = {region: _least_digits(region) for region in self._regions}
        # Fewer make a number in none of these regions, nor after another country's code.
        self.least_digits = min(*self._least.values(), _LEAST_INTERNATIONAL)
        self._numbers = functools.lru_cache(_REMEMBERED)(self._asked)

    def find(self, text: str) -> list[RecognizerResult]:
        """The recognizer's results."""
        candidates = []
        for candidate in _candidates(text, 0):
            candidates.append(candidate)
            if len(candidates) > _MOST_CANDIDATES:
                return self._recognizer.analyze(text, self._recognizer.supported_entities, None)  # type: ignore[no-any-return]
        if not any(any(self._number(text, c)) for c in candidates):
            return []
        found = [match for n in range(len(self._regions)) for match in self._in_region(text, candidates, n)]
        results = [
            self._recognizer._get_recognizer_result(m, text, _region(text[m.start : m.end]), None) for m in found
        ]
        return EntityRecognizer.remove_duplicates(results)  # type: ignore[no-any-return]

    def _in_region(self, text: str, candidates: Sequence[_Candidate], region: int) -> Iterator[_Match]:
        """What a matcher for this region finds, from the candidates that it has as long as it finds nothing.

        After a number within a candidate it goes on behind the number, with candidates of its own, until one of them
        begins where one of the common ones does: what it looks at next is the same from there on.
        """
        places = {c.start: number for number, c in enumerate(candidates)}
        number = 0
        while number < len(candidates):
            candidate = candidates[number]
            number += 1
            if match := self._match(text, candidate, region):
                yield match
                if match.end != candidate.end:
                    number = yield from self._apart(text, match.end, places, region)

    def _apart(self, text: str, index: int, places: Mapping[int, int], region: int) -> Generator[_Match, None, int]:
        """What is found from an index inside a common candidate on; returns which common one is reached next."""
        while True:
            for candidate in _candidates(text, index):
                if candidate.start in places:
                    return places[candidate.start]
                if match := self._match(text, candidate, region):
                    yield match
                    index = match.end
                    break
            else:
                return len(places)

    def _match(self, text: str, candidate: _Candidate, region: int) -> _Match | None:
        inside = self._number(text, candidate)[region]
        return _Match(candidate.start + inside[0], candidate.start + inside[1]) if inside else None

    def _number(self, text: str, candidate: _Candidate) -> tuple[tuple[int, int] | None, ...]:
        start, end = candidate.start, candidate.end
        return self._numbers(text[start - 1 : start] if start else "", candidate.text, text[end : end + _BEHIND])

    def _asked(self, before: str, candidate: str, behind: str) -> tuple[tuple[int, int] | None, ...]:
        """(start, end) within the candidate of the first number in it, for each region."""
        digits = phonenumbers.normalize_digits_only(candidate)
        # After a plus sign or an international prefix (00, 011, 0012 ...) another country's lengths count.
        international = "00" in digits or "01" in digits or any(plus in candidate for plus in _PLUS)
        window = before + candidate + behind
        found: list[tuple[int, int] | None] = []
        for region, least in self._least.items():
            match = None
            if international or len(digits) >= least:
                matcher = PhoneNumberMatcher(window, region, leniency=self._recognizer.leniency)
                match = matcher._extract_match(candidate, len(before))
            found.append((match.start - len(before), match.end - len(before)) if match else None)
        return tuple(found)


def _candidates(text: str, index: int) -> Iterator[_Candidate]:
    """What PhoneNumberMatcher looks at from this index on while it finds nothing."""
    match = _PATTERN.search(text, index)
    while match:
        candidate = match.group()
        if cut := _SECOND_NUMBER.search(candidate):
            candidate = candidate[: cut.start()]
        yield _Candidate(match.start(), candidate)
        match = _PATTERN.search(text, match.start() + len(candidate))


def _region(number: str) -> str | None:
    """As the recognizer names it in its explanation; None where it would keep the region that it was looking in."""
    try:
        return phonenumbers.region_code_for_number(phonenumbers.parse(number))
    except phonenumbers.NumberParseException:
        return None


@functools.lru_cache
def _least_digits(region: str) -> int:
    """Digits of the shortest valid number of the regions that share the region's country code."""
    code = phonenumbers.country_code_for_region(region)
    sharing: Sequence[str] = phonenumbers.region_codes_for_country_code(code)
    descriptions: list[Any] = [PhoneMetadata.metadata_for_region(r) for r in sharing]
    return int(min(min(d.general_desc.possible_length) for d in descriptions))
