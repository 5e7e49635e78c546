"""Own patterns, words and labelled numbers: hits, benign look-alikes, context."""

import pytest

from steps.contracts.errors import ConfigError
from steps.scrub.config import CustomPattern, ScrubConfig
from steps.scrub.profiles import LABELLED_ENTITIES
from steps.scrub.recognizers.all_forms import all_forms
from steps.scrub.recognizers.forms import FormDetector


def detector(config: ScrubConfig) -> FormDetector:
    return FormDetector(all_forms(config), config)


def found(config: ScrubConfig, text: str) -> set[tuple[str, str]]:
    return {(f.entity, text[f.start : f.end]) for f in detector(config).find(text)}


def test_own_patterns_and_words() -> None:
    config = ScrubConfig(entities=(), patterns={"STAFF_ID": r"\bE-\d{4}\b"}, deny={"PERSON": ("Ann", "Ann Lee")})
    text = "E-1234 is ann lee; Annie isn't, nor E-12345"
    assert found(config, text) == {("STAFF_ID", "E-1234"), ("PERSON", "ann lee")}
    assert found(config, f"\ud800\u00e9 {text}") == {("STAFF_ID", "E-1234"), ("PERSON", "ann lee")}
    with pytest.raises(ConfigError, match="STAFF_ID"):
        detector(ScrubConfig(patterns={"STAFF_ID": "(?=x)"}))


def test_a_weak_pattern_counts_beside_a_context_word_only() -> None:
    staff = CustomPattern(regex=r"\bid (?P<value>[0-9]{4})\b", score=0.1, context=("badge", "staff"))
    config = ScrubConfig(entities=(), patterns={"STAFF_ID": staff})
    assert found(config, "the id 1234 of something") == set()
    assert found(config, "Staff: they carry the id 1234") == {("STAFF_ID", "1234")}
    assert found(config, "a badge is what all of them wear here, id 1234") == set()
    (finding,) = detector(config).find("Staff id 1234")
    assert finding.score == pytest.approx(0.45)
    assert found(config.model_copy(update={"thresholds": {"STAFF_ID": 0.5}}), "staff id 1234") == set()


HITS = {
    "MEDICAL_RECORD_NUMBER": [("seen today, MRN: 4471902.", "4471902"), ("Patient ID #PT-88123", "PT-88123")],
    "HEALTH_PLAN_NUMBER": [("member ID: W20014455", "W20014455"), ("Medicare 1EG4-TE5-MK73 on file", "1EG4-TE5-MK73")],
    "ACCOUNT_NUMBER": [("Account number is 0099-8812", "0099-8812"), ("acct no. 5512345", "5512345")],
    "LICENSE_NUMBER": [("driver license no: D1234567", "D1234567"), ("certificate # A-99812", "A-99812")],
    "VEHICLE_ID": [
        ("it has 1M8GDM9AXKP042788 inside", "1M8GDM9AXKP042788"),
        ("license plate 7ABC123", "7ABC123"),
        ("Plate number: 7ABC123", "7ABC123"),
    ],
    "DEVICE_ID": [("serial number: SN-00451-K", "SN-00451-K"), ("IMEI 490154203237518", "490154203237518")],
    "CARD_TRACK": [
        ("%B4111111111111111^DOE/JANE^25121010000000000? swiped", "%B4111111111111111^DOE/JANE^25121010000000000?"),
        ("got ;4111111111111111=25121010000000000?", ";4111111111111111=25121010000000000?"),
    ],
    "CARD_VERIFICATION": [("CVV: 123", "123"), ("the security code is 9876", "9876")],
    "CARD_EXPIRY": [("exp. date 09/27", "09/27"), ("valid thru 12/2028", "12/2028")],
    "COORDINATES": [
        ("met at 52.520008, 13.404954 yesterday", "52.520008, 13.404954"),
        ("(-33.8568,151.2153).", "-33.8568,151.2153"),
        ("at 40.7128° N, 74.0060° W, say", "40.7128° N, 74.0060° W"),
        ("latitude: 40.7128, longitude: -74.0060", "40.7128, longitude: -74.0060"),
        ("at 40°42'46\"N 74°00'21\"W", "40°42'46\"N 74°00'21\"W"),
        ("48° 51′ N, 2° 21′ E", "48° 51′ N, 2° 21′ E"),
    ],
}
BENIGN = [
    "Medical records are kept for years; patient numbers rose to 4000 in 2020.",
    "The plan is to insure 300 members, policy holders and groups of 12.",
    "Turn on the account 2 times, say the customers.",
    "A driver license is needed at 16. Certificates cost 40 dollars.",
    "ABCDEFGHJKLMNPRST 12345678901234567 1M8GDM9A1KP042788",
    "a license plate was bent; the serial killer wore number 7",
    "4111111111111111 = x; y = 12345; a^2^3",
    "the security code changed in 1999 or so; CVs welcome",
    "expires in 12 months; valid until 2027",
    "array = [0.52, 13.4], [120.520008, 13.404954]",
    "weights 12.3456, 65.4321, 7.1234 and [1.0001, 2.0002, 3.0003, 4.0004]",
    "shares of 0.1234, 0.8766; rotated by 45° or 90°, 20° C",
    "12.34567, 3 of them; 12.3456 and 65.4321",
]


@pytest.mark.parametrize("entity", LABELLED_ENTITIES)
def test_labelled_numbers_are_found(entity: str) -> None:
    config = ScrubConfig(entities=(entity,))
    for text, value in HITS[entity]:
        assert found(config, text) == {(entity, value)}


@pytest.mark.parametrize("text", BENIGN)
def test_what_only_looks_like_them_stays(text: str) -> None:
    assert found(ScrubConfig(entities=LABELLED_ENTITIES), text) == set()
