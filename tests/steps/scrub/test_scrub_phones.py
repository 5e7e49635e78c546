"""What is skipped before libphonenumber is asked, against libphonenumber."""

import phonenumbers
from hypothesis import given, settings
from hypothesis import strategies as st
from phonenumbers import PhoneMetadata
from presidio_analyzer.predefined_recognizers import PhoneRecognizer
from support.near_pii import near_pii

from steps.scrub.gate import Gate, phone_clause
from steps.scrub.phones import Phones

RECOGNIZER = PhoneRecognizer(supported_regions=(*PhoneRecognizer.DEFAULT_SUPPORTED_REGIONS, "ES"))
PHONES = Phones(RECOGNIZER)
GATE = Gate({0: [phone_clause(PHONES.least_digits)]})
NUMBERS = st.text(st.sampled_from(list("0011223456789") + list(" -./()+x:,%$a٣９\u2013\n")), max_size=40)


def found(text: str) -> int:
    return len(RECOGNIZER.analyze(text, ["PHONE_NUMBER"], None))


@settings(max_examples=400, deadline=None)
@given(st.one_of(NUMBERS, near_pii()))
def test_nothing_is_found_where_nothing_is_possible(text: str) -> None:
    if found(text):
        assert PHONES.possible(text) and GATE.possible(text) == [0]
    else:
        assert not PHONES.possible(text)


def test_short_numbers_are_possible() -> None:
    """Germany has valid numbers of few digits; all of four, and every tenth of five and six."""
    numbers = [*map(str, range(1000, 10_000)), *map(str, range(10_000, 1_000_000, 997))]
    valid = [n for n in numbers if found(n)]
    assert valid and all(PHONES.possible(n) and GATE.possible(n) for n in valid)


def test_no_country_has_shorter_numbers() -> None:
    least = {
        region: min(PhoneMetadata.metadata_for_region(region).general_desc.possible_length)
        for region in phonenumbers.SUPPORTED_REGIONS
    }
    assert len(least) > 200 and min(least.values()) >= PHONES.least_digits
    assert PHONES.least_digits == 4


def test_very_many_candidates_are_left_to_the_matcher() -> None:
    assert PHONES.possible("12 34, " * 500)
    assert not PHONES.possible("12 34, " * 100)
