"""What a law or standard counts as identifying, and which detector looks for it. Names only; nothing is run here.

A profile is not legal advice and no proof of compliance: it says which identifiers are looked for, and by what.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

Profile = Literal["gdpr", "hipaa", "pci", "secrets"]
Status = Literal["covered", "accepted", "not covered"]

# Entities that stand in no pattern: only a named-entity model finds them.
MODEL_ENTITIES = ("PERSON", "LOCATION", "ORGANIZATION")
# Credentials, by steps/scrub/recognizers/secrets.py.
SECRET_ENTITIES = (
    "API_KEY",
    "AWS_KEY",
    "GITHUB_TOKEN",
    "GITLAB_TOKEN",
    "JWT",
    "PASSWORD",
    "PRIVATE_KEY",
    "SLACK_TOKEN",
    "URL_CREDENTIALS",
)
# A number or code behind its label ("MRN: 4471902"), by steps/scrub/recognizers/labelled_numbers.py.
LABELLED_ENTITIES = (
    "ACCOUNT_NUMBER",
    "CARD_EXPIRY",
    "CARD_TRACK",
    "CARD_VERIFICATION",
    "COORDINATES",
    "DEVICE_ID",
    "HEALTH_PLAN_NUMBER",
    "LICENSE_NUMBER",
    "MEDICAL_RECORD_NUMBER",
    "VEHICLE_ID",
)
# What a text has without digits or marks to go by, by steps/scrub/recognizers/builtin.py.
BUILTIN_ENTITIES = ("AGE", "STREET_ADDRESS", "TITLE", "ZIP_CODE")
# Detectors in this package, by what they find; every other entity is one of presidio's.
BESIDE_PRESIDIO: Mapping[str, Sequence[str]] = {
    "secrets": SECRET_ENTITIES,
    "label and number": LABELLED_ENTITIES,
    "own patterns": BUILTIN_ENTITIES,
}


class Identifier(NamedTuple):
    """One identifier of a profile: the entities that stand for it, or (none) why nothing looks for it."""

    name: str
    entities: tuple[str, ...] = ()
    why: str = ""


# 45 CFR 164.514(b)(2)(i)(A) to (R), in its order; 164.514(b)(2)(ii) (no other knowledge) is for people to judge.
_HIPAA = (
    Identifier("A names", ("PERSON",)),
    Identifier("B places smaller than a state", ("LOCATION", "STREET_ADDRESS", "ZIP_CODE", "COORDINATES")),
    Identifier("C dates except years, ages over 89", ("DATE_TIME", "AGE")),
    Identifier("D telephone numbers", ("PHONE_NUMBER",)),
    Identifier("E fax numbers", ("PHONE_NUMBER",)),
    Identifier("F e-mail addresses", ("EMAIL_ADDRESS",)),
    Identifier("G social security numbers", ("US_SSN", "US_ITIN")),
    Identifier("H medical record numbers", ("MEDICAL_RECORD_NUMBER",)),
    Identifier("I health plan beneficiary numbers", ("HEALTH_PLAN_NUMBER",)),
    Identifier("J account numbers", ("ACCOUNT_NUMBER", "CREDIT_CARD", "IBAN_CODE", "US_BANK_NUMBER", "CRYPTO")),
    Identifier(
        "K certificate and license numbers",
        ("LICENSE_NUMBER", "MEDICAL_LICENSE", "US_DRIVER_LICENSE", "US_PASSPORT"),
    ),
    Identifier("L vehicle identifiers and plates", ("VEHICLE_ID",)),
    Identifier("M device identifiers and serial numbers", ("DEVICE_ID", "MAC_ADDRESS")),
    Identifier("N URLs", ("URL",)),
    Identifier("O IP addresses", ("IP_ADDRESS",)),
    Identifier("P biometric identifiers", why="not text; biometric data is not looked for"),
    Identifier("Q full-face photographs", why="not text; images are not looked at"),
    Identifier("R any other unique number or code", ("UUID",), why="name your own forms in `patterns`"),
)
# Regulation (EU) 2016/679, Art. 4(1), and for online identifiers Recital 30.
_GDPR = (
    Identifier("a name", ("PERSON",)),
    Identifier("contact data of a person", ("EMAIL_ADDRESS", "PHONE_NUMBER")),
    Identifier(
        "an identification number",
        ("US_SSN", "US_ITIN", "US_PASSPORT", "UK_NHS", "MEDICAL_RECORD_NUMBER", "LICENSE_NUMBER", "VEHICLE_ID"),
    ),
    Identifier("location data", ("LOCATION", "STREET_ADDRESS", "ZIP_CODE", "COORDINATES")),
    Identifier("an online identifier: addresses", ("IP_ADDRESS", "MAC_ADDRESS")),
    Identifier("an online identifier: cookies, devices", ("UUID", "DEVICE_ID"), why="other forms go in `patterns`"),
    Identifier(
        "economic identity: accounts", ("IBAN_CODE", "CREDIT_CARD", "ACCOUNT_NUMBER", "US_BANK_NUMBER", "CRYPTO")
    ),
    Identifier(
        "physical, physiological, genetic, mental, cultural or social identity",
        why="what is told about a person is no identifier of fixed form; special categories (Art. 9) neither",
    ),
)
# PCI DSS v4, "PCI DSS Applicability Information": cardholder data, then sensitive authentication data.
_PCI = (
    Identifier("primary account number (PAN)", ("CREDIT_CARD",)),
    Identifier("cardholder name", why="a name; an NER model finds it, and PCI DSS protects it only with a PAN"),
    Identifier("expiration date", ("CARD_EXPIRY",)),
    Identifier("service code", why="three digits without a form of their own; in track data it goes with the track"),
    Identifier("full track data", ("CARD_TRACK",)),
    Identifier("card verification code", ("CARD_VERIFICATION",)),
    Identifier("PIN and PIN block", why="four digits, or sixteen of hexadecimal, without a form of their own"),
)
_SECRETS = (
    Identifier("private keys", ("PRIVATE_KEY",)),
    Identifier("cloud keys", ("AWS_KEY",)),
    Identifier("tokens of services", ("GITHUB_TOKEN", "GITLAB_TOKEN", "SLACK_TOKEN", "JWT")),
    Identifier("other keys of a known form, random strings beside a key word", ("API_KEY",)),
    Identifier("passwords beside their label", ("PASSWORD",)),
    Identifier("user and password in a URL", ("URL_CREDENTIALS",)),
)
PROFILES: Mapping[Profile, tuple[Identifier, ...]] = {
    "gdpr": _GDPR, "hipaa": _HIPAA, "pci": _PCI, "secrets": _SECRETS
}  # fmt: skip


class Coverage(NamedTuple):
    """One line of the coverage table. `detector` is what looks for the entity, or why nothing does."""

    profile: str
    identifier: str
    entity: str
    detector: str
    status: Status


def entities_of(profiles: Collection[Profile]) -> tuple[str, ...]:
    """Entities that the profiles add to what is looked for, without those that need a model; sorted."""
    return tuple(sorted({e for p in profiles for i in PROFILES[p] for e in i.entities if e not in MODEL_ENTITIES}))


def needing_a_model(profiles: Collection[Profile]) -> tuple[str, ...]:
    """Entities of the profiles that only a model finds, in the order of MODEL_ENTITIES."""
    asked = {e for p in profiles for i in PROFILES[p] for e in i.entities}
    return tuple(e for e in MODEL_ENTITIES if e in asked)


def detector_of(entity: str) -> str:
    """What looks for a pattern entity."""
    return next((name for name, entities in BESIDE_PRESIDIO.items() if entity in entities), "presidio")


def coverage(profiles: Sequence[Profile], found_by: Mapping[str, str], accepted: Collection[str]) -> Iterator[Coverage]:
    """The coverage table: the profiles' identifiers, then the model entities that no profile names.

    `found_by`: entity -> detector, of everything looked for.
    """
    for profile in profiles:
        for identifier in PROFILES[profile]:
            for entity in identifier.entities:
                yield _line(profile, identifier.name, entity, found_by, accepted)
            if identifier.why:
                yield Coverage(profile, identifier.name, "", identifier.why, "not covered")
    named = needing_a_model(profiles)
    for entity in MODEL_ENTITIES:
        if entity not in named:
            yield _line("", entity.lower(), entity, found_by, accepted)


def _line(profile: str, name: str, entity: str, found_by: Mapping[str, str], accepted: Collection[str]) -> Coverage:
    if entity in found_by:
        return Coverage(profile, name, entity, found_by[entity], "covered")
    why = "needs an NER model (scrub.ner)" if entity in MODEL_ENTITIES else "not among the entities looked for"
    return Coverage(profile, name, entity, why, "accepted" if entity in accepted else "not covered")
