"""Made-up personal data of every kind that scrub looks for, each value unique, and where it was put."""

import base64
import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote
from uuid import UUID

_LETTERS, _DIGITS = "ABCDEFGHJKLMNPRSTUVWXYZ", "0123456789"
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


@dataclass(frozen=True)
class Canary:
    """A value. `sentence`: as it stands in a text; `place`: where in the data."""

    kind: str
    value: str
    sentence: str
    place: str

    def needles(self) -> set[bytes]:
        """What must not be found of it, in lower case: as it is, in a URL, without its separators."""
        plain = self.value.lower()
        digits = "".join(c for c in plain if c.isalnum())
        forms = {plain, quote(plain, safe=""), plain.replace("/", "\\/")}
        # Within JSON a line's end is written otherwise.
        forms |= {line for line in plain.splitlines() if len(line) > 40}
        if sum(c.isdigit() for c in digits) > 8:
            forms.add(digits)
        if "@" in plain:
            forms.add(plain.split("@")[0])
        return {form.encode() for form in forms} | {plain.encode("utf-16-le")}


@dataclass
class Canaries:
    """Draws them; `planted` has all that were."""

    seed: int = 12
    planted: list[Canary] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)

    def new(self, kind: str, place: str) -> Canary:
        """Another value of a kind, for a place."""
        value = _KINDS[kind][1](self._rng)
        canary = Canary(kind, value, _KINDS[kind][0].format(value), place)
        self.planted.append(canary)
        return canary

    def text(self, place: str, *kinds: str) -> str:
        """Sentences with a value of each kind, or of all."""
        return " ".join(self.new(kind, place).sentence for kind in kinds or KINDS)


def _some(rng: random.Random, alphabet: str, count: int) -> str:
    return "".join(rng.choice(alphabet) for _ in range(count))


def _mixed(rng: random.Random, count: int) -> str:
    """Letters and digits as keys have them, some of each."""
    text = [_some(rng, alphabet, 1) for alphabet in (_LETTERS, _DIGITS, _LETTERS.lower()) * count][:count]
    rng.shuffle(text)
    return "".join(text)


def _card(rng: random.Random) -> str:
    digits = [4, *(rng.randrange(10) for _ in range(14))]
    total = sum(sum(divmod(2 * d, 10)) if i % 2 == 0 else d for i, d in enumerate(digits))
    return "".join(map(str, digits)) + str(-total % 10)


def _iban(rng: random.Random) -> str:
    account = _some(rng, _DIGITS, 18)
    return f"DE{98 - int(account + '131400') % 97:02d}{account}"


def _bitcoin(rng: random.Random) -> str:
    payload = bytes([0, rng.randrange(1, 256)]) + rng.randbytes(19)
    number = int.from_bytes(payload + hashlib.sha256(hashlib.sha256(payload).digest()).digest()[:4], "big")
    text = ""
    while number:
        number, rest = divmod(number, 58)
        text = _BASE58[rest] + text
    return "1" + text


def _nhs(rng: random.Random) -> str:
    while True:
        digits = [rng.randrange(10) for _ in range(9)]
        check = -sum(d * w for d, w in zip(digits, range(10, 1, -1), strict=True)) % 11
        if check < 10:
            text = "".join(map(str, [*digits, check]))
            return f"{text[:3]} {text[3:6]} {text[6:]}"


def _dea(rng: random.Random) -> str:
    digits = [rng.randrange(10) for _ in range(6)]
    check = (sum(digits[0::2]) + 2 * sum(digits[1::2])) % 10
    return f"B{rng.choice('ABCDEFG')}{''.join(map(str, digits))}{check}"


def _vin(rng: random.Random) -> str:
    values = dict(
        zip(
            "ABCDEFGHJKLMNPRSTUVWXYZ",
            [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 7, 9, 2, 3, 4, 5, 6, 7, 8, 9],
            strict=True,
        )
    )
    weights = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
    text = (
        _some(rng, "ABCDEFGHJKLMNPRSTUVWXYZ", 5)
        + _some(rng, _DIGITS, 3)
        + "0"
        + _some(rng, "ABCDEFGHJKLMNPRSTUVWXYZ", 2)
        + _some(rng, _DIGITS, 6)
    )
    rest = sum(w * (int(c) if c.isdigit() else values[c]) for c, w in zip(text, weights, strict=True)) % 11
    return text[:8] + ("X" if rest == 10 else str(rest)) + text[9:]


def _jwt(rng: random.Random) -> str:
    said = (b'{"alg":"HS256","typ":"JWT"}', b'{"sub":"%d"}' % rng.randrange(10**9), rng.randbytes(32))
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in said)


def _private_key(rng: random.Random) -> str:
    body = base64.b64encode(rng.randbytes(96)).decode()
    return f"-----BEGIN PRIVATE KEY-----\n{body[:64]}\n{body[64:]}\n-----END PRIVATE KEY-----"


# ruff: noqa: E501 - one line per kind
# By kind a sentence, in the words that people use around such a value, and how a value is made.
_KINDS: dict[str, tuple[str, Callable[[random.Random], str]]] = {
    "ACCOUNT_NUMBER": ("My account number is {}.", lambda r: _some(r, "123456789", 1) + _some(r, _DIGITS, 10)),
    "API_KEY": ('api_key = "{}"', lambda r: _mixed(r, 40)),
    "AWS_KEY": ("The key is {} for that bucket.", lambda r: "AKIA" + _some(r, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16)),
    "CARD_TRACK": ("Track: {}", lambda r: f"%B{_card(r)}^DOE/JANE^3012{_some(r, _DIGITS, 12)}?"),
    "COORDINATES": ("She lives at lat {}.", lambda r: f"48.{_some(r, _DIGITS, 7)}, lon 11.{_some(r, _DIGITS, 7)}"),
    "CREDIT_CARD": ("Charge my credit card {}.", _card),
    "CRYPTO": ("Send it to my bitcoin wallet {} today.", _bitcoin),
    "DEVICE_ID": ("The serial number is {}.", lambda r: f"SN{_some(r, _DIGITS, 10)}"),
    "EMAIL_ADDRESS": ("Write to {} please.", lambda r: f"{_some(r, 'abcdefghk', 6)}.{_some(r, 'mnoprst', 6)}@example.org"),
    "GITHUB_TOKEN": ("Use the token {} there.", lambda r: "ghp_" + _mixed(r, 36)),
    "GITLAB_TOKEN": ("Use the token {} there.", lambda r: "glpat-" + _mixed(r, 20)),
    "HEALTH_PLAN_NUMBER": ("My insurance number is {}.", lambda r: f"H{_some(r, _DIGITS, 10)}"),
    "IBAN_CODE": ("Refunds go to IBAN {}.", _iban),
    "IP_ADDRESS": ("My IP is {}.", lambda r: "2001:db8:" + ":".join(f"{r.randrange(4096, 65536):x}" for _ in range(6))),
    "JWT": ("Authorization: Bearer {}", _jwt),
    "LICENSE_NUMBER": ("My licence number is {}.", lambda r: f"L{_some(r, _DIGITS, 9)}"),
    "MAC_ADDRESS": ("Its MAC is {}.", lambda r: "52:54:" + ":".join(f"{r.randrange(16, 256):02x}" for _ in range(4))),
    "MEDICAL_LICENSE": ("The DEA certificate of the doctor is {}.", _dea),
    "MEDICAL_RECORD_NUMBER": ("MRN: {}.", lambda r: f"M{_some(r, _DIGITS, 9)}"),
    "PASSWORD": ("password: {}", lambda r: f"{_mixed(r, 14)}!x"),
    "PERSON": ("Ask for {} at the desk.", lambda r: f"{_some(r, 'BCD', 1)}{_some(r, 'aeiou', 2)}{_some(r, 'lmnr', 2)}ykx Q{_some(r, 'aeiou', 2)}{_some(r, 'bdgz', 3)}"),
    "PHONE_NUMBER": ("Please call {} before you come.", lambda r: f"+49 30 {r.randrange(10**6, 10**7)} {r.randrange(10)}"),
    "PRIVATE_KEY": ("{}", _private_key),
    "SLACK_TOKEN": ("Use the token {} there.", lambda r: f"xoxb-{_some(r, _DIGITS, 12)}-{_some(r, _DIGITS, 12)}-{_mixed(r, 24)}"),
    "STREET_ADDRESS": ("I live at {}.", lambda r: f"{r.randrange(3000, 9999)} {r.choice(('Alder', 'Birch', 'Cedar', 'Maple', 'Walnut'))} Street"),
    "UK_NHS": ("My NHS number is {}.", _nhs),
    "URL": ("My page is {} since May.", lambda r: f"https://{_some(r, 'abcdefghkmnp', 12)}.example.com/{_some(r, 'abcdefghk', 8)}"),
    "URL_CREDENTIALS": ("Fetch https://{}@db.example.net/x today.", lambda r: f"{_some(r, 'abcdefghk', 9)}:{_mixed(r, 16)}"),
    "US_BANK_NUMBER": ("The check goes to my bank account {}.", lambda r: _some(r, "123456789", 1) + _some(r, _DIGITS, 11)),
    "US_DRIVER_LICENSE": ("My driver license is {}.", lambda r: f"{r.choice(_LETTERS)}{_some(r, _DIGITS, 12)}"),
    "US_ITIN": ("My tax ITIN is {}.", lambda r: f"9{_some(r, _DIGITS, 2)}-7{r.randrange(9)}-{r.randrange(1001, 9999)}"),
    "US_PASSPORT": ("My passport is {}.", lambda r: f"{r.choice(_LETTERS)}{_some(r, '123456789', 1)}{_some(r, _DIGITS, 7)}"),
    "US_SSN": ("My SSN is {}.", lambda r: f"{r.randrange(100, 650)}-{r.randrange(11, 99)}-{r.randrange(1001, 9999)}"),
    "UUID": ("The order is {} there.", lambda r: str(UUID(int=r.getrandbits(128), version=4))),
    "VEHICLE_ID": ("Its VIN is {}.", _vin),
    "ZIP_CODE": ("I live in Springfield, IL {}.", lambda r: f"62{_some(r, _DIGITS, 3)}-{r.randrange(1001, 9999)}"),
}  # fmt: skip
KINDS = tuple(_KINDS)
# Too short to be told from any other number, or no more than a word.
TOO_SHORT = frozenset({"AGE", "CARD_EXPIRY", "CARD_VERIFICATION", "DATE_TIME"})
