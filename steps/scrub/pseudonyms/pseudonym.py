"""Stable pseudonyms: keyed digests of normalised values, and the key they need."""

import base64
import hashlib
import hmac
import os
import unicodedata

from steps.contracts.errors import ConfigError
from steps.engines.scan.visible import VisibleText
from steps.scrub.config import Mode, ScrubConfig

# Published with the source: whoever has it can test guesses against pseudonyms made with it.
DEMO_KEY = "assay published demo key: protects nothing, use it with public example data only"
# Chosen: 32 characters of `openssl rand -hex 32` are 128 bits, which can't be guessed.
MIN_KEY_CHARACTERS = 32
_DIGITS_ONLY = frozenset({"PHONE_NUMBER"})
_ALNUM_ONLY = frozenset(
    {"CREDIT_CARD", "IBAN_CODE", "UK_NHS", "US_BANK_NUMBER", "US_ITIN", "US_PASSPORT", "US_SSN", "MAC_ADDRESS"}
)


def read_key(config: ScrubConfig) -> bytes:
    """The pseudonym key, read from the environment now.

    Raises:
        ConfigError: no key is set, or it is shorter than MIN_KEY_CHARACTERS.
    """
    if config.demo_key:
        return DEMO_KEY.encode()
    key = os.environ.get(config.key_env, "")
    if not key:
        raise ConfigError(
            f"no pseudonym key: the environment variable {config.key_env} is not set",
            where="scrub",
            hint=f"export {config.key_env}=$(openssl rand -hex 32) and keep it; every mode needs it, because the "
            "ledger names each replaced value by its keyed digest (public example data only: demo_key: true)",
        )
    if len(key) < MIN_KEY_CHARACTERS:
        raise ConfigError(
            f"the key in {config.key_env} has {len(key)} characters, at least {MIN_KEY_CHARACTERS} are needed",
            where="scrub",
            hint=f"export {config.key_env}=$(openssl rand -hex 32)",
        )
    return key.encode()


def key_fingerprint(key: bytes) -> str:
    """8 hex characters that tell two keys apart and don't give the key away."""
    return hmac.new(key, b"fingerprint", hashlib.sha256).hexdigest()[:8]


def normalised(entity: str, value: str) -> str:
    """The value as it is compared: NFKC, case folded, single spaces; digits or alphanumerics only for numbers."""
    folded = " ".join(unicodedata.normalize("NFKC", VisibleText(value).text).casefold().split())
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
