"""Texts made to hide personal data, to stop a detector or to cost a lot."""

import resource
import time

import pytest
from support.near_pii import VALUES

from steps.contracts.errors import ConfigError
from steps.scrub.config import ScrubConfig
from steps.scrub.detector import Detector
from steps.scrub.findings import Finding

MAIL, PHONE, SSN = "jane.doe@example.org", "+1 212-555-0142", "536-90-4399"


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(ScrubConfig())


def values(detector: Detector, text: str) -> set[tuple[str, str]]:
    (found,) = detector.find([text])
    assert found is not None
    return {(f.entity, text[f.start : f.end]) for f in found}


@pytest.mark.parametrize(
    "text",
    [
        f"\ud800 {MAIL} \udfff",
        f"{MAIL}\ud83d",
        f"\x00{MAIL}\x00",
        f"a\x00b {MAIL}\x00",
        f"مرحبا {MAIL} شكرا",
        f"שלום {MAIL} תודה",
        f"\u202e{MAIL}\u202c",
        f"邮箱:{MAIL}。",
        f"Пишите на {MAIL}, Ивану",
        f"संपर्क {MAIL} करें",
        f"ΓΡΆΨΤΕ ΣΤΟ {MAIL} ΣΉΜΕΡΑ",
    ],
)
def test_no_surroundings_hide_an_address(detector: Detector, text: str) -> None:
    found = {value.strip("\u202e\u202c") for entity, value in values(detector, text) if entity == "EMAIL_ADDRESS"}
    assert found == {MAIL}, found


@pytest.mark.parametrize("mark", ["\u200b", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u202e", "\u200f"])
@pytest.mark.parametrize(("entity", "value"), [("EMAIL_ADDRESS", MAIL), ("PHONE_NUMBER", PHONE), ("US_SSN", SSN)])
def test_invisible_characters_are_part_of_what_is_found(detector: Detector, mark: str, entity: str, value: str) -> None:
    for at in range(1, len(value)):
        hidden = value[:at] + mark + value[at:]
        text = f"social security: {hidden} ok"
        assert (entity, hidden) in values(detector, text), at
    every = mark.join(value)
    assert (entity, every) in values(detector, f"social security {every} ok")


def test_full_width_digits_and_letters_are_read(detector: Detector) -> None:
    wide = "".join(chr(ord(c) + 0xFEE0) if c.isalnum() else c for c in MAIL)
    assert {value for _, value in values(detector, f"to {wide} now")} == {wide}


def test_all_other_values_are_still_found_among_surrogates(detector: Detector) -> None:
    for value in VALUES:
        plain, broken = (f"my {value} {tail}" for tail in ("\ufffd", "\ud800"))
        assert detector.find([plain]) == detector.find([broken])


@pytest.mark.slow
def test_a_row_of_fifty_megabytes(detector: Detector) -> None:
    """In time and memory that grow with the text; what stands at its ends and in its middle is found."""
    filler = "All work and no play makes Jack a dull boy; 3 of 14 days, chapter 12. " * 360_000
    text = f"{MAIL} {filler}{SSN.replace('-', ' ')} ssn {filler}call {PHONE}"
    assert len(text) > 50_000_000
    started = time.process_time()
    (found,) = detector.find([text])
    assert found is not None
    assert [(f.start, f.entity) for f in sorted(found) if f.entity in ("EMAIL_ADDRESS", "PHONE_NUMBER")] == [
        (0, "EMAIL_ADDRESS"),
        (len(text) - len(PHONE), "PHONE_NUMBER"),
    ]
    assert time.process_time() - started < 120
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4 << 20


@pytest.mark.parametrize(
    "text",
    [
        "a" * 1_000_000,
        "1" * 300_000,
        "1 " * 200_000,
        "a." * 300_000,
        "@" * 500_000,
        "\u200b" * 500_000,
        "1:" * 200_000,
        "a@b." * 50_000,
        "é" * 500_000,
    ],
)
def test_monotonous_rows_end(detector: Detector, text: str) -> None:
    started = time.process_time()
    assert detector.find([text])[0] is not None
    assert time.process_time() - started < 60


def test_a_catastrophic_pattern_costs_nothing() -> None:
    config = ScrubConfig(entities=(), patterns={"BAD": "(a+)+$", "WORSE": "(?:x|xx)+y"})
    text = "a" * 200_000 + "!" + "x" * 200_000
    started = time.process_time()
    assert Detector(config).find([text]) == [[]]
    assert time.process_time() - started < 20
    with pytest.raises(ConfigError, match="LOOKS"):
        Detector(ScrubConfig(entities=(), patterns={"LOOKS": "(?=a)a"}))


def test_a_text_that_stops_a_detector_is_undecided_and_its_neighbours_are_not(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stops:
        def find(self, text: str) -> list[Finding]:
            if "stop" in text:
                raise ValueError(text)
            return []

    monkeypatch.setattr(detector, "_extra", (*detector._extra, Stops()))
    before, stopped, after = detector.find([MAIL, f"stop {MAIL}", MAIL])
    assert before == after and before and stopped is None
