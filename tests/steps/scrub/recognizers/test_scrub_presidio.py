"""The accelerated detector against plain presidio, and the policy on what counts."""

import pytest
from support.near_pii import generated

from steps.contracts.errors import ConfigError
from steps.scrub.config import DEFAULT_ENTITIES, ScrubConfig
from steps.scrub.recognizers.presidio import PresidioDetector

EVERYTHING = (*DEFAULT_ENTITIES, "URL", "UUID", "DATE_TIME", "US_DRIVER_LICENSE")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "least"),
    [
        (ScrubConfig(), 150),
        (ScrubConfig(entities=EVERYTHING, threshold=0, needs_context=(), phone_needs_form=False), 700),
    ],
)
def test_the_prefilter_loses_nothing(config: ScrubConfig, least: int) -> None:
    fast, slow = (PresidioDetector(config.model_copy(update={"accelerate": a})) for a in (True, False))
    found = 0
    seen = set()
    for text in generated(450):
        plain = sorted(slow.find(text))
        assert sorted(fast.find(text)) == plain, text
        found += len(plain)
        seen.update(f.entity for f in plain)
    assert found >= least
    assert len(set(config.wanted_of("presidio")) - seen) <= 2, seen


@pytest.fixture(scope="module")
def default() -> PresidioDetector:
    return PresidioDetector(ScrubConfig())


@pytest.mark.parametrize(
    ("text", "entity"),
    [
        ("write to jane@example.org now", "EMAIL_ADDRESS"),
        ("ring 212-555-0142 tonight", "PHONE_NUMBER"),
        ("my mobile 2125550142", "PHONE_NUMBER"),
        ("Rufnummer 0494 92 82 32", "PHONE_NUMBER"),
        ("paid with 4111 1111 1111 1111", "CREDIT_CARD"),
        ("my bank account 8134567712", "US_BANK_NUMBER"),
        ("ssn 536-90-4399", "US_SSN"),
        ("host 192.168.10.77 is down", "IP_ADDRESS"),
    ],
)
def test_hits(default: PresidioDetector, text: str, entity: str) -> None:
    assert entity in {f.entity for f in default.find(text)}


@pytest.mark.parametrize(
    "text",
    [
        "He saved 60000-10800=49200 dollars, 18000/1000 each.",
        "the value is 2125550142",
        "John :: Int -> Int, see std::vector",
        "George Berkeley (1685–1753), circa 1694 - 1743",
        "pi is 3.1415926535, doi 10.1000/182",
        "order 8134567712 of 2024-05-17",
        "install popper.js@1.16.1 from https://docs.python.org/3/",
        "A4 paper, O2 and X2, licence B12345",
        "4111 1111 1111 1112",
    ],
)
def test_look_alikes(default: PresidioDetector, text: str) -> None:
    assert default.find(text) == []


def test_an_entity_without_a_recognizer_is_refused() -> None:
    with pytest.raises(ConfigError, match="PERSON"):
        PresidioDetector(ScrubConfig(entities=("PERSON",)))
