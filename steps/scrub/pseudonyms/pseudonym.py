"""Stable pseudonyms: keyed digests of normalised values."""

import base64
import hashlib
import hmac
import unicodedata

from steps.engines.scan.visible import VisibleText
from steps.scrub.config import Mode
from steps.scrub.readings import Unescaped

_DIGITS_ONLY = frozenset({"PHONE_NUMBER"})
_ALNUM_ONLY = frozenset(
    {"CREDIT_CARD", "IBAN_CODE", "UK_NHS", "US_BANK_NUMBER", "US_ITIN", "US_PASSPORT", "US_SSN", "MAC_ADDRESS"}
)


def normalised(entity: str, value: str) -> str:
    """The value as it is compared: escapes written out, NFKC, case folded, single spaces; digits or alphanumerics only
    for numbers.
    """
    plain = Unescaped(VisibleText(value).text).text
    folded = " ".join(unicodedata.normalize("NFKC", plain).casefold().split())
    if entity in _DIGITS_ONLY:
        return "".join(c for c in folded if c.isdigit()) or folded
    if entity in _ALNUM_ONLY:
        return "".join(c for c in folded if c.isalnum()) or folded
    return folded


def keyed_digest(key: bytes, entity: str, value: str) -> bytes:
    """HMAC-SHA256(key, entity, normalised value), 32 bytes."""
    message = f"{entity}\0{normalised(entity, value)}".encode("utf-8", "surrogatepass")
    return hmac.new(key, message, hashlib.sha256).digest()


def pseudonym(key: bytes, entity: str, value: str) -> str:
    """`<ENTITY_` and 12 base32 characters: the first 60 bits of the value's keyed digest."""
    return f"<{entity}_{base64.b32encode(keyed_digest(key, entity, value))[:12].decode()}>"


def replacement(mode: Mode, entity: str, name: str, surrogate: str | None = None) -> str:
    """What stands in the text instead of the value whose pseudonym is `name`; a surrogate that isn't there is it."""
    return {"pseudonymise": name, "surrogate": surrogate or name, "redact": f"<{entity}>", "mask": "****"}[mode]


def masked_sample(value: str) -> str:
    """First character and three stars; only stars for values of fewer than 5 characters."""
    return f"{value[0]}***" if len(value) >= 5 else "***"
