"""Credentials: keys and tokens of a known form, and random strings beside a key word.

Forms are RE2 patterns of ours that find the whole secret. detect-secrets finds enough of it to raise an alarm (the
prefix of a token, the first line of a private key) with patterns that backtrack; here it judges: its entropy and
its filters decide whether a string beside a key word is random, and a test compares what its plugins find.
"""

import base64
import binascii
import functools
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from steps.scrub.recognizers.forms import Form

RECOGNIZER = "secrets"
# Chosen: a key's random part is at least so long; shorter ones are words, versions and ids as well.
_KEY_CHARACTERS = 16
# Bits per character. detect-secrets' own limits are 3.0 for hexadecimal and 4.5 for base64, which a string of fewer
# than 23 characters can't reach; the lower limit for base64 is measured on t0 and GSM8K (docs/stages/scrub.md).
_HEX_BITS = 3.0
_BASE64_BITS = 3.5
# Chosen: a word of so many letters or more is no part of a random string.
_WORD_LETTERS = 8
_PASSWORD_CHARACTERS = 8
_PASSWORD_CLASSES = 3
# What stands in examples instead of a secret; compared within the lower-cased value.
_PLACEHOLDERS = (
    "your", "example", "xxxx", "****", "....", "1234567", "abcdef", "changeme", "placeholder", "password", "secret",
    "token", "api_key", "apikey", "api-key", "insert", "replace", "dummy", "sample", "redacted", "hidden",
)  # fmt: skip

_PLACE_NAMES = frozenset({"pass", "passwd", "pwd", "key", "pw"})
# request.token, typing.Optional: names in code.
_DOTTED_NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")

_ASSIGNED = r"""['"`]?\s{0,3}(?::=|=>|=|:)\s{0,3}['"`]?"""
_KEY_WORDS = (
    r"(?:api|app|application|access|auth|account|client|consumer|service|private|secret|db|database|master|encryption"
    r"|signing|storage|subscription|shared|session|refresh|bearer|security|webhook|x)"
    r"[_\- ]?(?:api|access|account|auth|secret|client)?[_\- ]?(?:key|token|secret|credential)"
)
_BODY = r"(?:[^-]|-[^-])*?"
_BASE64_LINES = r"(?:(?:\s|\\n|\\r)*[A-Za-z0-9+/=]{16,})+"
_BEGIN, _END = (rf"-{{4,5}} ?{word} (?:[A-Z0-9]+ ){{0,3}}PRIVATE KEY(?: BLOCK)? ?-{{4,5}}" for word in ("BEGIN", "END"))


def secrets(entities: Sequence[str]) -> list[Form]:
    """The forms of these entities."""
    return [form for form in _all() if form.entity in entities]


def _all() -> list[Form]:
    return [
        _form("PRIVATE_KEY", rf"{_BEGIN}{_BODY}{_END}|{_BEGIN}{_BASE64_LINES}", _has_key_body),
        _form("PRIVATE_KEY", r"Private-Lines: [0-9]+\s+(?P<value>(?:[A-Za-z0-9+/=]{4,}\s+)+Private-MAC: [0-9a-f]+)"),
        _form("AWS_KEY", r"\b(?:A3T[A-Z0-9]|ABIA|ACCA|AKIA|ASIA)[0-9A-Z]{16}\b"),
        _form(
            "AWS_KEY",
            r"(?i)aws.{0,20}?(?:key|pwd|pw|password|pass|token|secret).{0,20}?['\"=:\s]+"
            r"(?P<value>[0-9a-z/+]{40})(?:[^0-9a-z/+=]|$)",
            _is_mixed,
        ),
        _form("GITHUB_TOKEN", r"\bgh[pousr]_[A-Za-z0-9_]{36,}|\bgithub_pat_[A-Za-z0-9_]{40,}"),
        _form("GITLAB_TOKEN", r"\bgl(?:pat|dt|ft|soat|rt|cbt|imt|ptt|agent|oas)-[\w-]{20,}|\bGR1348941[\w-]{20,50}"),
        _form("SLACK_TOKEN", r"(?i)\bxox[abeoprs]-(?:[0-9]+-)+[a-z0-9]+|\bxapp-[0-9]-[a-z0-9]+-[0-9]+-[a-z0-9]+"),
        _form("SLACK_TOKEN", r"(?i)https://hooks\.slack\.com/services/T[a-z0-9_]+/B[a-z0-9_]+/[a-z0-9_]+"),
        _form("JWT", r"\beyJ[A-Za-z0-9_=-]{8,}\.[A-Za-z0-9_=-]+(?:\.[A-Za-z0-9_=+/-]+){0,3}", _is_jwt),
        *_known_keys(),
        _form(
            "API_KEY",
            rf"(?i){_KEY_WORDS}s?{_ASSIGNED}(?:(?:bearer|basic|token)\s+)?(?P<value>[a-z0-9+/_=.~-]{{{_KEY_CHARACTERS},}})",
            _is_random,
        ),
        _form("API_KEY", rf"(?i)\b(?:bearer|basic)\s+(?P<value>[a-z0-9+/_=.~-]{{{_KEY_CHARACTERS},}})", _is_random),
        _form(
            "PASSWORD",
            rf"(?i)(?:password|passwd|passphrase|pwd)s?(?:{_ASSIGNED}| is ['\"]?)"
            r"(?P<value>[^\s'\"`<>(){}\[\],;]{8,64})",
            _is_password,
        ),
        _form("URL_CREDENTIALS", r"://[^\s/:?#@\[\]'\"]+:(?P<value>[^\s/:?#@\[\]'\"<>{}$*]{3,})@", _is_no_placeholder),
    ]


def _known_keys() -> list[Form]:
    """Keys whose issuers gave them a prefix or a fixed form, as detect-secrets 1.5.0 and their pages have them."""
    sources: tuple[tuple[str, Callable[[str], bool] | None], ...] = (
        (r"\bsk-[A-Za-z0-9_-]*T3BlbkFJ[A-Za-z0-9_-]{20,}", None),  # OpenAI
        (r"\bsk-ant-[a-z0-9]{2,10}-[A-Za-z0-9_-]{32,}", None),  # Anthropic
        (r"\bsk-(?:proj-)?[A-Za-z0-9_-]{40,}", _is_random),  # OpenAI and those who copy its form
        (r"\bAIza[0-9A-Za-z_-]{35}", None),  # Google
        (r"\bhf_[A-Za-z]{34}\b", None),  # Hugging Face
        (r"\b[rs]k_(?:live|test)_[0-9a-zA-Z]{24,}", None),  # Stripe
        (r"\bSG\.[a-zA-Z0-9_-]{22}\.[a-zA-Z0-9_-]{43}", None),  # SendGrid
        (r"\bsq0csp-[0-9A-Za-z\\_-]{43}", None),  # Square
        (r"\b(?:AC|SK)[a-z0-9]{32}\b", _is_mixed),  # Twilio
        (r"\b[0-9a-z]{32}-us[0-9]{1,2}\b", _is_mixed),  # Mailchimp
        (r"\bnpm_[A-Za-z0-9]{36}\b", None),
        (r":_authToken=\s*(?P<value>[A-Fa-f0-9-]{36})", None),  # npm, older
        (r"\bpypi-Ag[A-Za-z0-9_-]{70,}", None),
        (r"\b[MNO][a-zA-Z0-9_-]{23,25}\.[a-zA-Z0-9_-]{6}\.[a-zA-Z0-9_-]{27,}", _is_mixed),  # Discord
        (r"\b[0-9]{8,10}:[0-9A-Za-z_-]{35}\b", _is_mixed),  # Telegram
        (r"AccountKey=(?P<value>[a-zA-Z0-9+/=]{88})", None),  # Azure storage
        (r"\bdapi[0-9a-f]{32}\b", None),  # Databricks
        (r"\bhv[sbr]\.[A-Za-z0-9_-]{24,}", _is_mixed),  # HashiCorp Vault
        (r"\bdo[opr]_v1_[0-9a-f]{64}\b", None),  # DigitalOcean
        (r"\bshp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}\b", None),  # Shopify
        (r"\bgsk_[A-Za-z0-9]{48,}", _is_mixed),  # Groq
        (r"\bglsa_[A-Za-z0-9]{32}_[0-9a-fA-F]{8}\b", None),  # Grafana
        (
            r"""(?:^|[\s=:"])(?P<value>AKC[a-zA-Z0-9]{10,}|AP[0-9A-F][a-zA-Z0-9]{8,})(?:[\s"]|$)""",
            _is_random,
        ),  # Artifactory
    )
    return [_form("API_KEY", source, confirm) for source, confirm in sources]


def _form(entity: str, regex: str, confirm: Callable[[str], bool] | None = None) -> Form:
    return Form(entity, regex, confirm=confirm, recognizer=RECOGNIZER)


def _has_key_body(value: str) -> bool:
    """More than the two marker lines, which documentation shows alone."""
    body = value.split("KEY", 1)[1].split("-----END", maxsplit=1)[0]
    return sum(c.isalnum() for c in body) >= 2 * _KEY_CHARACTERS


def _is_jwt(value: str) -> bool:
    """The first part is a JSON object that names an algorithm (RFC 7515, 4.1.1)."""
    head = value.split(".", maxsplit=1)[0].rstrip("=")
    try:
        header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (binascii.Error, ValueError):
        return False
    return isinstance(header, dict) and "alg" in header


def _is_mixed(value: str) -> bool:
    return any(c.isdigit() for c in value) and any(c.isalpha() for c in value)


def _is_no_placeholder(value: str) -> bool:
    low = value.casefold()
    if len(set(low)) <= 2 or low in _PLACE_NAMES or _DOTTED_NAME.fullmatch(value):
        return False
    return not any(p in low for p in _PLACEHOLDERS)


def _is_random(value: str) -> bool:
    """Letters and digits mixed, high entropy, no long word, no placeholder and no sequence."""
    from detect_secrets.filters.heuristic import is_sequential_string

    if not _is_mixed(value) or not _is_no_placeholder(value) or is_sequential_string(value):
        return False
    of_hex, of_base64 = _entropies()
    is_hex = not set(value.lower()) - set("0123456789abcdef-")
    enough = of_hex(value) > _HEX_BITS if is_hex else of_base64(value) > _BASE64_BITS
    return enough and (is_hex or not _reads_as_words(value))


@functools.lru_cache(maxsize=1)
def _entropies() -> tuple[Callable[[str], float], Callable[[str], float]]:
    """Shannon entropy in bits per character, over hexadecimal digits and over base64 characters."""
    from detect_secrets.plugins.high_entropy_strings import Base64HighEntropyString, HexHighEntropyString

    hexadecimal: Any = HexHighEntropyString(_HEX_BITS)
    base64_like: Any = Base64HighEntropyString(_BASE64_BITS)
    return hexadecimal.calculate_shannon_entropy, base64_like.calculate_shannon_entropy


def _reads_as_words(value: str) -> bool:
    """Identifiers and paths: a long run of lower-case letters, or few digits among letters, dots and underscores."""
    run = longest = 0
    for character in value:
        run = run + 1 if character.islower() else 0
        longest = max(longest, run)
    return longest >= _WORD_LETTERS or sum(c.isdigit() for c in value) < 2


def _is_password(value: str) -> bool:
    """At least three of: lower case, upper case, digit, other mark; and no placeholder."""
    if len(value) < _PASSWORD_CHARACTERS or not _is_no_placeholder(value):
        return False
    kinds = (str.islower, str.isupper, str.isdigit, lambda c: not c.isalnum())
    return sum(any(kind(c) for c in value.rstrip(".!?")) for kind in kinds) >= _PASSWORD_CLASSES
