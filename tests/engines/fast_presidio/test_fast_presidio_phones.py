"""What is skipped before libphonenumber is asked, against libphonenumber."""

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phonenumbers import PhoneMetadata
from presidio_analyzer.predefined_recognizers import PhoneRecognizer
from support.near_pii import near_pii

from steps.engines.fast_presidio.phones import Phones
from steps.engines.fast_presidio.prefilter import Prefilter, phone_clause

RECOGNIZER = PhoneRecognizer(supported_regions=(*PhoneRecognizer.DEFAULT_SUPPORTED_REGIONS, "ES"))
PHONES = Phones(RECOGNIZER)
PREFILTER = Prefilter({0: [phone_clause(PHONES.least_digits)]})
NUMBERS = st.text(st.sampled_from(list("0011223456789") + list(" -./()+x:,%$a٣９\u2013\n")), max_size=40)


def found(text: str) -> list[tuple[int, int]]:
    return sorted((r.start, r.end) for r in RECOGNIZER.analyze(text, ["PHONE_NUMBER"], None))


def found_by_us(text: str) -> list[tuple[int, int]]:
    return sorted((r.start, r.end) for r in PHONES.find(text))


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(st.one_of(NUMBERS, near_pii()))
def test_the_same_numbers_are_found(text: str) -> None:
    numbers = found(text)
    assert found_by_us(text) == numbers
    assert not numbers or PREFILTER.possible(text) == [0]


@pytest.mark.parametrize(
    "text",
    [
        "(212) 555-0142 / (415) 555-2671 / 030 901820, 0494 92 82 32 030 901820",
        "212-555-0142 415-555-2671 " * 8,
        "1 2 3 4 5 6 7 8 9 0 2125550142 1 2 3 4 5 6 7 8 9 030 901820 1 2 3 4 5 6 7 8 9 0 1 2 3 4",
        "+49 30 901820 - 11, 212-555-0142 x 12, 2012-01-02 08:00, 2012-01-02 08:0, 3/10/2011",
        "2125550142abc, $2125550142, 2125550142%, a2125550142, (212) 555-0142 x, 212 555 01422125550142",
    ],
)
def test_several_numbers_in_a_row(text: str) -> None:
    assert found(text) and found_by_us(text) == found(text)


@pytest.mark.slow
def test_short_numbers_are_found() -> None:
    """Germany has valid numbers of few digits; all of four, and some of five and six."""
    numbers = [*map(str, range(1000, 10_000)), *map(str, range(10_000, 1_000_000, 997))]
    valid = [n for n in numbers if found(n)]
    assert valid == [n for n in numbers if found_by_us(n)] and all(PREFILTER.possible(n) for n in valid)


def test_no_country_has_shorter_numbers() -> None:
    least = {
        region: min(PhoneMetadata.metadata_for_region(region).general_desc.possible_length)
        for region in phonenumbers.SUPPORTED_REGIONS
    }
    assert len(least) > 200 and min(least.values()) >= PHONES.least_digits
    assert PHONES.least_digits == 4


def test_very_many_candidates_are_left_to_the_matcher() -> None:
    for text in ("12 34, " * 500 + "212-555-0142", "12 34, " * 100 + "212-555-0142"):
        assert found_by_us(text) == found(text) == [(len(text) - 12, len(text))]
