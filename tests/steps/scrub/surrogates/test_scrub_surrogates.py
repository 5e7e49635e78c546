"""Surrogates: same kind, same form, the same for equal values; judged by the libraries that check such values."""

import ipaddress
import json
import random
import re
import string
from pathlib import Path

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from presidio_analyzer.predefined_recognizers import CreditCardRecognizer, IbanRecognizer, NhsRecognizer

from steps.contracts.context import StageContext
from steps.contracts.dataset import DatasetWriter
from steps.contracts.digests import canonical_json
from steps.contracts.execution import Executor
from steps.contracts.outcome import Outcome
from steps.contracts.records import Row, make_row, message
from steps.engines.execution.processes import Processes
from steps.scrub.config import Locale, ScrubConfig
from steps.scrub.detector import Detector
from steps.scrub.profiles import LABELLED_ENTITIES, SECRET_ENTITIES
from steps.scrub.pseudonyms.pseudonym import normalised, pseudonym
from steps.scrub.scrub import scrub
from steps.scrub.surrogates import surrogate_formats
from steps.scrub.surrogates.surrogates import Surrogates

KEY = b"k" * 32
LOCALES: tuple[Locale, ...] = ("en_US", "en_GB", "de", "fr", "es")


@pytest.fixture(scope="module")
def english() -> Surrogates:
    return Surrogates(KEY, ("en_US",))


def made(surrogates: Surrogates, entity: str, value: str) -> str:
    new = surrogates.of(entity, value)
    assert new is not None and normalised(entity, new) != normalised(entity, value)
    return new


def shape(text: str) -> str:
    return re.sub("[A-Z]", "A", re.sub("[a-z]", "a", re.sub(r"\d", "9", text)))


@pytest.mark.parametrize("value", ["4111 1111 1111 1111", "378282246310005", "5500-0000-0000-0004"])
def test_cards_keep_length_kind_and_luhn(english: Surrogates, value: str) -> None:
    new = made(english, "CREDIT_CARD", value)
    assert shape(new) == shape(value) and new[0] == value[0]
    assert CreditCardRecognizer().validate_result(new) is True


@pytest.mark.parametrize(
    "value", ["DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819", "FR1420041010050500013M02606"]
)
def test_ibans_keep_country_and_check_digits(english: Surrogates, value: str) -> None:
    new = made(english, "IBAN_CODE", value)
    assert shape(new) == shape(value) and new[:2] == value[:2]
    assert IbanRecognizer().validate_result(new) is True


def test_addresses_are_for_documentation(english: Surrogates) -> None:
    nets = [ipaddress.ip_network(n) for n in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")]
    for n in range(50):
        assert any(ipaddress.ip_address(made(english, "IP_ADDRESS", f"10.1.2.{n}")) in net for net in nets)
        six = ipaddress.ip_address(made(english, "IP_ADDRESS", f"2a00:1450::{n:x}"))
        assert six in ipaddress.ip_network("2001:db8::/32")
    assert made(english, "IP_ADDRESS", "10.0.0.0/8").endswith("/8")
    mac = made(english, "MAC_ADDRESS", "00:1b:44:11:3a:b7")
    assert re.fullmatch(r"[0-9a-f][26ae](:[0-9a-f]{2}){5}", mac)


PHONES = [
    "+1 (212) 555-0199",
    "(415) 555-2671",
    "+49 30 901820",
    "+44 20 7946 0958",
    "+33 1 42 68 53 00",
    "+34 91 123 45 67",
]


@pytest.mark.parametrize("value", PHONES)
def test_phone_numbers_keep_country_and_writing(english: Surrogates, value: str) -> None:
    new = made(english, "PHONE_NUMBER", value)
    assert shape(new) == shape(value)
    before, after = (phonenumbers.parse(v, "US") for v in (value, new))
    assert phonenumbers.region_code_for_number(before) == phonenumbers.region_code_for_number(after)
    assert before.country_code != 1 or re.fullmatch(r"\d{3}55501\d\d", str(after.national_number))


@pytest.mark.parametrize(
    ("locale", "value", "given_to_nobody"),
    [
        ("en_GB", "07911 123456", ("207946", "113496", "161496", "114496", "116496", "117496", "118496", "121496",
                                   "131496", "141496", "151496", "191498", "8081570")),
        ("fr", "06 12 34 56 78", ("19900", "26191", "35301", "46571", "53649")),
        ("de", "030 90182033", ("3023125", "6990009", "4066969", "2214710", "8999998")),
        ("de", "0151 23456789", ("3023125", "6990009", "4066969", "2214710", "8999998")),
    ],
)  # fmt: skip
def test_a_made_up_number_of_these_countries_rings_nowhere(
    locale: Locale, value: str, given_to_nobody: tuple[str, ...]
) -> None:
    from presidio_analyzer.predefined_recognizers import PhoneRecognizer

    several = [Surrogates(bytes([n]) * 32, (locale,)) for n in range(20)]
    new = {made(s, "PHONE_NUMBER", value) for s in several}
    region = {"en_GB": "GB", "fr": "FR", "de": "DE"}[locale]
    assert len(new) > 10
    for one in new:
        number = phonenumbers.parse(one, region)
        assert shape(one) == shape(value) and str(number.national_number).startswith(given_to_nobody)
        assert PhoneRecognizer().analyze(f"call {one} now", ["PHONE_NUMBER"])


def test_writings_of_one_value_get_one_surrogate(english: Surrogates) -> None:
    one, other = (made(english, "PHONE_NUMBER", v) for v in ("+1 (212) 555-0142", "+1-212-555-0142"))
    assert normalised("PHONE_NUMBER", one) == normalised("PHONE_NUMBER", other) and shape(one) != shape(other)
    assert made(english, "PERSON", "ANN LEE") == made(english, "PERSON", "Ann Lee").upper()


@pytest.mark.parametrize(
    ("entity", "value", "form"),
    [
        ("US_SSN", "536-90-4399", r"666-\d\d-\d{4}"),
        ("US_ITIN", "912-70-1234", r"9\d\d-66-\d{4}"),
        ("US_PASSPORT", "A12345674", r"[A-Z][1-9]\d{7}"),
        ("UUID", "123e4567-e89b-12d3-a456-426614174000", r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
        ("EMAIL_ADDRESS", "x@corp.io", r"[a-z0-9]+\.[a-z0-9]+\.[a-z2-7]{6}@example\.(com|net|org)"),
        ("URL", "https://corp.io/jane", r"https://www\.example\.(com|net|org)/[a-z2-7]{10}"),
        ("PERSON", "Ann Lee", r"\w+ \w+"),
        ("PERSON", "Lee, Ann", r"\w+, \w+"),
        ("PERSON", "Ann", r"\w+"),
        ("DATE_TIME", "May 17, 2024", r"(January|February|March|April|May|June|July|August|September|October"
         r"|November|December) (1[3-9]|2[0-8]), 2024"),
        ("DATE_TIME", "2024-05-07", r"2024-(0[1-9]|1[0-2])-(0[1-9]|1[0-2])"),
        ("CARD_EXPIRY", "09/27", r"(0[1-9]|1[0-2])/(1[3-9]|2[0-8])"),
        ("AGE", "42 years", r"[1-8]\d years"),
        ("AGE", "104", r"1[01]\d"),
        ("STAFF_ID", "E-1234", r"[A-Z]-[1-9]\d{3}"),
    ],
)  # fmt: skip
def test_forms(english: Surrogates, entity: str, value: str, form: str) -> None:
    assert re.fullmatch(form, made(english, entity, value))


_GERMAN = "Januar|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember"
_FRENCH = "janvier|février|mars|avril|mai|juin|juillet|août|septembre|octobre|novembre|décembre"


@pytest.mark.parametrize(
    ("locale", "value", "form"),
    [
        ("de", "12. Mai 2004", rf"\d\d\. ({_GERMAN}) 2004"),
        ("fr", "3 mai 2004", rf"\d\d? ({_FRENCH}) 2004"),
        ("es", "lunes", "martes|miércoles|jueves|viernes|sábado|domingo"),
        ("es", "3 März", rf"\d\d? ({_GERMAN})"),
    ],
)
def test_dates_are_of_the_language_they_are_in(locale: Locale, value: str, form: str) -> None:
    drawn = [made(Surrogates(bytes([n]) * 32, (locale,)), "DATE_TIME", value) for n in range(12)]
    assert [new for new in drawn if not re.fullmatch(form, new)] == []
    assert len(set(drawn)) > 3


@pytest.mark.parametrize(
    ("entity", "value"),
    [
        ("VEHICLE_ID", "1M8GDM9AXKP042788"),
        ("COORDINATES", "40.7128° N, 74.0060° W"),
        ("COORDINATES", "-33.8568,151.2153"),
        ("COORDINATES", "40°42'46\"N 74°00'21\"W"),
        ("AGE", "7"),
        ("AGE", "104"),
    ],
)
def test_a_surrogate_is_found_as_what_it_is(entity: str, value: str) -> None:
    detector = Detector(ScrubConfig(entities=(entity,)))
    drawn = {made(Surrogates(bytes([n]) * 32, ("en_US",)), entity, value) for n in range(30)}
    assert len(drawn) > 5
    for new, found in zip(
        drawn, detector.find([f"aged {v}." if entity == "AGE" else f"at {v}." for v in drawn]), strict=True
    ):
        assert [f.end - f.start for f in found or ()] == [len(new)], new


def test_nhs_numbers_are_test_numbers(english: Surrogates) -> None:
    new = made(english, "UK_NHS", "943 476 5919")
    assert new.startswith("999 ") and NhsRecognizer().validate_result(new) is True


def test_names_are_of_the_locale() -> None:
    from faker.providers.person.de_DE import Provider

    german = Surrogates(KEY, ("de", "en_US"))
    first, last = made(german, "PERSON", "Ann Lee").split(" ", 1)
    assert first in Provider.first_names and last in Provider.last_names
    drawn = {made(Surrogates(KEY, (locale,)), "PERSON", "Ann Lee") for locale in LOCALES}
    assert len(drawn) == len(LOCALES)


def test_credentials_and_words_of_no_kind_keep_their_pseudonym(english: Surrogates) -> None:
    assert [english.of(e, "abc123abc123") for e in SECRET_ENTITIES] == [None] * len(SECRET_ENTITIES)
    assert english.of("PROJECT", "zeus") is None
    assert all(made(english, e, "A-12/34") for e in LABELLED_ENTITIES)


KINDS = [
    *("PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE", "IP_ADDRESS", "MAC_ADDRESS", "US_SSN", "US_ITIN", "UK_NHS"),
    *("DATE_TIME", "AGE", "PERSON", "EMAIL_ADDRESS", "URL", "ZIP_CODE"),
]
ODD = st.text(
    st.sampled_from(string.ascii_letters + string.digits + " -.:/()+,é٣²\u200b\ud800"), min_size=1, max_size=24
)


@settings(max_examples=300)
@given(st.sampled_from(KINDS), ODD)
def test_any_value_gets_the_same_surrogate_again_and_never_itself(entity: str, value: str) -> None:
    one, two = (Surrogates(KEY, ("en_US",)).of(entity, value) for _ in range(2))
    assert one == two
    assert one is None or normalised(entity, one) != normalised(entity, value)


def test_another_key_gives_another_surrogate(english: Surrogates) -> None:
    other = Surrogates(b"x" * 32, ("en_US",))
    values = [f"{n}{n}{n}-55-1234" for n in range(1, 9)]
    assert all(made(english, "US_SSN", v) != made(other, "US_SSN", v) for v in values)


def test_collisions_are_as_rare_as_stated() -> None:
    """n(n-1)/2N pairs on average; N = 690 first names x 1000 last names, each as likely as the other."""
    from faker.providers.person.en_US import Provider

    size = len(set(Provider.first_names)) * len(set(Provider.last_names))
    english = Surrogates(KEY, ("en_US",))
    n = 3000
    distinct = len({english.of("PERSON", f"Person Number{i}") for i in range(n)})
    expected = n * (n - 1) / 2 / size
    assert abs((n - distinct) - expected) <= 4 * expected**0.5 + 1


def test_a_made_up_card_is_a_card_for_every_length() -> None:
    rng = random.Random(1)
    for length in range(12, 20):
        digits = [int(c) for c in surrogate_formats.card(rng, "4" * length)]
        doubled = [d if i % 2 == 0 else sum(divmod(2 * d, 10)) for i, d in enumerate(reversed(digits))]
        assert len(digits) == length and sum(doubled) % 10 == 0


MAIL, PHONE, SSN = "jane.doe@corp.io", "+1 212-555-2368", "536-90-4399"


def rows() -> list[Row]:
    texts = [f"row {n}: {[MAIL, PHONE, SSN][n % 3]} and ssn 536-90-{n:04d}, {n}@corp.io" for n in range(1, 280)]
    return [
        make_row(kind="conversation", source="s", locator=f"line:{n}", raw=str(n).encode(),
                 messages=[message("user", text), message("assistant", f"You said {MAIL}")])
        for n, text in enumerate(texts)
    ]  # fmt: skip


def run(folder: Path, given_rows: list[Row], **where: Executor) -> Outcome:
    writer = DatasetWriter(folder / "in", "ingest")
    writer.write_rows(given_rows)
    return scrub(writer.close(), ScrubConfig(demo_key=True, mode="surrogate"), StageContext(folder / "out", **where))


@pytest.mark.slow
def test_a_run_is_the_same_for_any_order_and_workers_and_names_every_value(tmp_path: Path) -> None:
    data = rows()
    mixed = random.Random(1).sample(data, len(data))
    one, many = run(tmp_path / "1", data), run(tmp_path / "2", mixed, executor=Processes(2, batch_rows=7))
    texts = {r["record_id"]: canonical_json(r["messages"]) for r in one.rows.iter_rows()}
    assert texts == {r["record_id"]: canonical_json(r["messages"]) for r in many.rows.iter_rows()}
    assert one.rows.digest == many.rows.digest
    (answer,) = {r["messages"][1]["content"] for r in one.rows.iter_rows()}
    assert answer.removeprefix("You said ") in next(iter(texts.values())) or "@example." in answer
    everything = "".join(texts.values())
    assert not any(secret in everything for secret in (MAIL, PHONE, SSN, "@corp.io"))
    lines = one.ledger.read().to_pylist()
    evidence = [json.loads(line["evidence"]) for line in lines]
    assert len(lines) == len(data) and {e["mode"] for e in evidence} == {"surrogate"}
    key = b"assay published demo key: protects nothing, use it with public example data only"
    assert {s[4] for e in evidence for s in e["spans"] if s[0] == "messages/1/content"} == {
        pseudonym(key, "EMAIL_ADDRESS", MAIL)
    }
    table = next(t for t in one.report.tables if t.title.startswith("Surrogates"))
    assert {r[0]: r[1] for r in table.rows} == {"EMAIL_ADDRESS": 280, "PHONE_NUMBER": 1, "US_SSN": 280}
    assert all(r[2] <= r[1] for r in table.rows)
    said = one.report.model_dump_json() + json.dumps(lines)
    assert not any(secret in said for secret in (MAIL, PHONE, SSN)) and "faker" in said


def test_the_version_of_faker_is_part_of_the_cache_key(monkeypatch: pytest.MonkeyPatch) -> None:
    from steps.scrub.step import key
    from steps.zenml_runtime import step as step_runtime

    before = key()
    monkeypatch.setattr(step_runtime, "_version", lambda name: "0" if name == "Faker".lower() else "1")
    other = key()
    monkeypatch.setattr(step_runtime, "_version", lambda name: "1")
    assert key() != other != before
