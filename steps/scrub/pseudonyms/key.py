"""The secret key of pseudonyms."""

import hashlib
import hmac
import os

from steps.contracts.errors import ConfigError
from steps.scrub.config import ScrubConfig

# Published with the source: whoever has it can test guesses against pseudonyms made with it.
DEMO_KEY = "assay published demo key: protects nothing, use it with public example data only"
# Chosen: 32 characters of `openssl rand -hex 32` are 128 bits, which can't be guessed.
MIN_KEY_CHARACTERS = 32


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
