import base64
import hashlib
import hmac

import pytest

from steps.contracts.errors import ConfigError
from steps.scrub.config import ScrubConfig
from steps.scrub.pseudonyms.key import key_fingerprint, read_key
from steps.scrub.pseudonyms.pseudonym import masked_sample, pseudonym

KEY = b"k" * 32


def test_pseudonym_is_sixty_bits_of_the_keyed_digest() -> None:
    digest = hmac.digest(KEY, b"PERSON\0ann lee", hashlib.sha256)
    bits = format(int.from_bytes(digest, "big"), "0256b")[:60]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    expected = "".join(alphabet[int(bits[i : i + 5], 2)] for i in range(0, 60, 5))
    assert pseudonym(KEY, "PERSON", "Ann Lee") == f"<PERSON_{expected}>"
    assert base64.b32decode(f"{expected}====")[:7] == digest[:7]


@pytest.mark.parametrize(
    ("entity", "one", "other"),
    [
        ("PERSON", "Ann  Lee", "ann lee"),
        ("EMAIL_ADDRESS", "A.B@Example.org", "a.b@example.org"),
        ("PHONE_NUMBER", "+1 (212) 555-0142", "+1-212-555-0142"),
        ("CREDIT_CARD", "4111 1111 1111 1111", "4111-1111-1111-1111"),
        ("IBAN_CODE", "DE89 3704 0044 0532 0130 00", "de89370400440532013000"),
    ],
)
def test_writings_of_one_value_get_one_pseudonym(entity: str, one: str, other: str) -> None:
    assert pseudonym(KEY, entity, one) == pseudonym(KEY, entity, other)


def test_other_values_types_and_keys_get_other_pseudonyms() -> None:
    names = {
        pseudonym(KEY, "PERSON", "Ann Lee"),
        pseudonym(KEY, "PERSON", "Ann Leo"),
        pseudonym(KEY, "NRP", "Ann Lee"),
        pseudonym(b"x" * 32, "PERSON", "Ann Lee"),
    }
    assert len({n.split("_")[-1] for n in names}) == 4
    assert key_fingerprint(KEY) != key_fingerprint(b"x" * 32)


def test_no_key_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASSAY_PII_KEY", raising=False)
    for mode in ("pseudonymise", "redact", "mask"):
        with pytest.raises(ConfigError, match="ASSAY_PII_KEY"):
            read_key(ScrubConfig(mode=mode))
    monkeypatch.setenv("ASSAY_PII_KEY", "hunter2")
    with pytest.raises(ConfigError, match="at least 32") as caught:
        read_key(ScrubConfig())
    assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("OTHER", "x" * 40)
    assert read_key(ScrubConfig(key_env="OTHER")) == b"x" * 40
    assert read_key(ScrubConfig(demo_key=True)) != read_key(ScrubConfig(key_env="OTHER"))


def test_a_masked_sample_shows_one_character_at_most() -> None:
    assert masked_sample("jane@example.org") == "j***"
    assert masked_sample("Bob") == "***"
