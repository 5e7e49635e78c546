"""Made-up values of the same kind in place of found ones: the same for equal values under one key, in every run.

A value's surrogate is drawn with a generator seeded by HMAC-SHA256(key, entity, normalised value): it depends on
nothing else in the data, so that rows, order and workers don't matter. Two values can therefore meet in one surrogate;
of n values and N equally likely surrogates, n(n-1)/2N pairs do on average. faker's word lists decide names, so its
version is part of the step's cache key.
"""

import base64
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from steps.scrub.config import Locale
from steps.scrub.profiles import SECRET_ENTITIES
from steps.scrub.pseudonyms.pseudonym import keyed_digest, normalised
from steps.scrub.surrogates import surrogate_formats

# The locale of faker's word lists, and the region of telephone numbers without a country code.
_PLACES: Mapping[Locale, tuple[str, str]] = {
    "en_US": ("en_US", "US"),
    "en_GB": ("en_GB", "GB"),
    "de": ("de_DE", "DE"),
    "fr": ("fr_FR", "FR"),
    "es": ("es_ES", "ES"),
}
_TITLES: Mapping[Locale, tuple[str, ...]] = {
    "en_US": ("Mr.", "Mrs.", "Ms.", "Dr.", "Prof."),
    "en_GB": ("Mr", "Mrs", "Ms", "Dr", "Prof"),
    "de": ("Herr", "Frau", "Dr.", "Prof."),
    "fr": ("M.", "Mme", "Dr", "Pr"),
    "es": ("Sr.", "Sra.", "Dr.", "Dra."),
}
# RFC 2606, section 3.
_DOMAINS = ("example.com", "example.net", "example.org")
# Chosen: 30 bits beside the name keep e-mail addresses apart.
_MAIL_CHARACTERS = 6
_URL_CHARACTERS = 10
# Chosen: a surrogate that happens to be the value itself is drawn again at most so often.
_TRIES = 20

_SHAPES: Mapping[str, Callable[[Random, str], str]] = {
    "AGE": surrogate_formats.age,
    "CARD_EXPIRY": surrogate_formats.date,
    "COORDINATES": surrogate_formats.coordinates,
    "CREDIT_CARD": surrogate_formats.card,
    "IBAN_CODE": surrogate_formats.iban,
    "IP_ADDRESS": surrogate_formats.ip_address,
    "MAC_ADDRESS": surrogate_formats.mac_address,
    "UK_NHS": surrogate_formats.nhs,
    "US_ITIN": surrogate_formats.itin,
    "US_SSN": surrogate_formats.ssn,
    "VEHICLE_ID": surrogate_formats.vehicle,
}


class Surrogates:
    """Draws surrogates under one key, with the words of the first locale."""

    def __init__(self, key: bytes, locales: Sequence[Locale]) -> None:
        from faker import Faker

        self._key = key
        self._locale = locales[0]
        name, self._region = _PLACES[self._locale]
        # Unweighted: common names would meet far more often than the size of the list says.
        self._faker: Any = Faker(name, use_weighting=False)
        self._words: Mapping[str, Callable[[Random, str], str]] = {
            "DATE_TIME": lambda rng, value: surrogate_formats.date(rng, value, self._locale[:2]),
            "EMAIL_ADDRESS": self._mail,
            "LOCATION": lambda _rng, _value: str(self._faker.city()),
            "ORGANIZATION": lambda _rng, _value: str(self._faker.company()),
            "PERSON": lambda _rng, value: self._person(value),
            "PHONE_NUMBER": lambda rng, value: surrogate_formats.phone(rng, value, self._region),
            "STREET_ADDRESS": lambda _rng, _value: str(self._faker.street_address()).replace("\n", " "),
            "TITLE": lambda rng, _value: rng.choice(_TITLES[self._locale]),
            "URL": _url,
        }

    def of(self, entity: str, value: str) -> str | None:
        """The surrogate of a value; None where none is made: credentials, and words of a kind without a list.

        A made-up credential would raise the alarm of every scanner, so those keep their pseudonym.
        """
        make = self._words.get(entity) or _SHAPES.get(entity)
        if make is None:
            if entity in SECRET_ENTITIES or not any(c.isdigit() for c in value):
                return None
            make = surrogate_formats.same_shape
        rng = Random(int.from_bytes(keyed_digest(self._key, entity, value)))
        self._faker.random = rng
        for _ in range(_TRIES):
            made = make(rng, value)
            if normalised(entity, made) != normalised(entity, value):
                return _cased(made, value) if entity in self._words else made
        return None

    def _person(self, value: str) -> str:
        first, last = str(self._faker.first_name()), str(self._faker.last_name())
        if len(value.split()) == 1:
            return first
        return f"{last}, {first}" if "," in value else f"{first} {last}"

    def _mail(self, rng: Random, _value: str) -> str:
        words = (self._faker.first_name(), self._faker.last_name(), _code(rng, _MAIL_CHARACTERS))
        return f"{'.'.join(_plain(str(w)) for w in words)}@{rng.choice(_DOMAINS)}"


def _url(rng: Random, value: str) -> str:
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", value)
    return f"{scheme.group() if scheme else ''}www.{rng.choice(_DOMAINS)}/{_code(rng, _URL_CHARACTERS)}"


def _code(rng: Random, characters: int) -> str:
    return base64.b32encode(rng.randbytes(characters)).decode()[:characters].lower()


def _plain(word: str) -> str:
    """Small ASCII letters and digits only: "Müller" -> "muller"."""
    return "".join(c for c in unicodedata.normalize("NFKD", word).lower() if c.isascii() and c.isalnum())


def _cased(made: str, value: str) -> str:
    """All capitals or all small letters, where the value is written so."""
    return made.upper() if value.isupper() else made.lower() if value.islower() else made
