"""Numbers and codes of the same form as a given one: same separators and length, and check digits.

Every function takes a seeded random generator and the value, and returns another value. Ranges that nobody is given
are used where they exist: RFC 5737 and RFC 3849 addresses, telephone numbers for drama (North America, Britain,
France, Germany), SSN area 666, ITIN group 66, NHS numbers with 999. Elsewhere (cards, IBANs, other telephone numbers)
a made-up value may be somebody's.
"""

import ipaddress
import re
import unicodedata
from random import Random
from typing import Any

from steps.scrub.recognizers.vin import VIN_CHARACTERS, VIN_CHECK, vin_check

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_HEX = "0123456789abcdef"
# RFC 5737, section 3.
_IPV4_NETWORKS = ("192.0.2", "198.51.100", "203.0.113")
# country code -> national prefixes whose last three or four digits are free, of numbers that nobody is given, as far as
# phonenumbers calls them valid: Ofcom, "Telephone numbers for use in TV and radio drama programmes"; Arcep, decision
# 2018-0881, 2.5.12; Bundesnetzagentur, Mitteilung 148/2021.
_FICTION = {
    44: ("2079460", "1134960", "1144960", "1164960", "1174960", "1184960", "1214960", "1314960", "1414960",
         "1514960", "1614960", "1914980", "8081570"),
    33: ("19900", "26191", "35301", "46571", "53649"),
    49: ("3023125", "6990009", "4066969", "2214710", "8999998"),
}  # fmt: skip
_FREE_DIGITS = (3, 4)
_NANP = 1
_NANP_DIGITS = 10
# Chosen: tries for a number that phonenumbers calls valid; the last try is taken if none is.
_TRIES = 50
# ISO/IEC 7812-1: 8 to 19.
_LEAST_CARD_DIGITS = 8
_MOD_97 = 97
_IBAN = re.compile("[A-Za-z]{2}[0-9]{2}[A-Za-z0-9]+")
_MOD_11 = 11
# Months, and days of the week.
_DATE_NAMES = {language: tuple(tuple(names.split()) for names in lists) for language, lists in {
    "en": ("january february march april may june july august september october november december",
           "monday tuesday wednesday thursday friday saturday sunday"),
    "de": ("januar februar märz april mai juni juli august september oktober november dezember",
           "montag dienstag mittwoch donnerstag freitag samstag sonntag"),
    "fr": ("janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
           "lundi mardi mercredi jeudi vendredi samedi dimanche"),
    "es": ("enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
           "lunes martes miércoles jueves viernes sábado domingo"),
}.items()}  # fmt: skip
_DATE_PART = re.compile(r"\d+|[^\W\d_]+")
_MOST_MONTHS = 12
# So that a made-up day exists in every month.
_MOST_DAYS = 28
_LAST_DAY = 31
# Degrees, but for a fraction; minutes and seconds of an arc.
_MOST_LATITUDE, _MOST_LONGITUDE, _MOST_MINUTES = 89, 179, 59


def same_shape(rng: Random, value: str) -> str:
    """Each digit becomes a digit, each letter a letter of the same case; the first digit stays zero or not zero."""
    letters = [c for c in value if c.isalpha()]
    # Identifiers in hexadecimal stay so; words such as "face" have no digit.
    alphabet = _HEX[10:] if any(map(str.isdigit, value)) and set("".join(letters).lower()) <= set(_HEX) else _LETTERS
    made: list[str] = []
    seen_digit = False
    for c in value:
        if c.isdigit():
            made.append(rng.choice("0123456789" if seen_digit or c == "0" else "123456789"))
            seen_digit = True
        elif c.isalpha():
            letter = rng.choice(alphabet)
            made.append(letter.upper() if c.isupper() else letter)
        else:
            made.append(c)
    return "".join(made)


def card(rng: Random, value: str) -> str:
    """The first digit (the kind of card) stays; the last makes the Luhn sum right (ISO/IEC 7812-1)."""
    digits = _digits(value)
    if len(digits) < _LEAST_CARD_DIGITS:
        return same_shape(rng, value)
    body = [digits[0], *(rng.randrange(10) for _ in digits[2:])]
    total = sum(d if i % 2 else d * 2 - 9 * (d > 4) for i, d in enumerate(reversed(body)))
    return _refilled(value, [*body, -total % 10])


def iban(rng: Random, value: str) -> str:
    """The country stays; the two check digits are right (ISO 13616)."""
    plain = "".join(c for c in value if c.isalnum())
    if not _IBAN.fullmatch(plain):
        return same_shape(rng, value)
    body = same_shape(rng, plain[4:])
    number = int("".join(str(int(c, 36)) for c in f"{body}{plain[:2]}00"))
    made = iter(f"{plain[:2]}{_MOD_97 + 1 - number % _MOD_97:02d}{body}")
    return "".join(next(made) if c.isalnum() else c for c in value)


def ip_address(rng: Random, value: str) -> str:
    """An address for documentation; a prefix length or zone behind it stays."""
    rest = re.search(r"[/%].*$", value)
    tail = rest.group() if rest else ""
    if ":" in value:
        return f"{ipaddress.IPv6Address((0x20010DB8 << 96) | rng.getrandbits(96))}{tail}"
    return f"{rng.choice(_IPV4_NETWORKS)}.{rng.randrange(1, 255)}{tail}"


def mac_address(rng: Random, value: str) -> str:
    """A locally administered unicast address (IEEE 802: second digit 2, 6, a or e)."""
    made = [rng.choice(_HEX), rng.choice("26ae"), *(rng.choice(_HEX) for _ in range(10))]
    upper = any(c.isupper() for c in value)
    digits = iter(made)
    return "".join((next(digits, "0").upper() if upper else next(digits, "0")) if c.isalnum() else c for c in value)


def ssn(rng: Random, value: str) -> str:
    """Area 666 was never given to anybody."""
    return _refilled(value, [6, 6, 6, *_two(rng), *_four(rng)])


def itin(rng: Random, value: str) -> str:
    """Group 66: the IRS gives 50 to 65, 70 to 88, 90 to 92 and 94 to 99."""
    return _refilled(value, [9, *(rng.randrange(10) for _ in range(2)), 6, 6, *_four(rng)])


def nhs(rng: Random, value: str) -> str:
    """999 is kept for tests; the check digit is right (modulus 11)."""
    while True:
        body = [9, 9, 9, *(rng.randrange(10) for _ in range(6))]
        check = (_MOD_11 - sum(d * w for d, w in zip(body, range(10, 1, -1), strict=True)) % _MOD_11) % _MOD_11
        if check < 10:
            return _refilled(value, [*body, check])


def age(rng: Random, value: str) -> str:
    """Another age with as many digits; two-digit ages are adults', and nobody gets older than 119."""

    def drawn(match: re.Match[str]) -> str:
        low, high = {1: (1, 9), 2: (18, 89), 3: (100, 119)}.get(len(match[0]), (0, 0))
        return str(rng.randint(low, high)) if high else same_shape(rng, match[0])

    return re.sub(r"\d+", drawn, value)


def coordinates(rng: Random, value: str) -> str:
    """Another place on earth, with as many digits: latitude, then longitude, each with its decimals or minutes."""
    numbers = list(re.finditer(r"(?<![\d.])\d+", value))
    degrees = {0: _MOST_LATITUDE, len(numbers) // 2: _MOST_LONGITUDE}
    most = {m.start(): degrees.get(n, _MOST_MINUTES) for n, m in enumerate(numbers)}

    def drawn(match: re.Match[str]) -> str:
        digits = len(match[0])
        limit = most.get(match.start())
        if limit is None:
            return f"{rng.randrange(10**digits):0{digits}d}"
        least = 10 ** (digits - 1) if limit != _MOST_MINUTES and digits > 1 else 0
        return f"{rng.randint(least, max(least, min(limit, 10**digits - 1))):0{digits}d}"

    return re.sub(r"\d+", drawn, value)


def vehicle(rng: Random, value: str) -> str:
    """A VIN with the right check digit (49 CFR 565.15) in place of one; any other number keeps its form."""
    made = same_shape(rng, value)
    if len(value) != VIN_CHARACTERS:
        return made
    # The letters that a VIN hasn't.
    plain = made.upper().translate(str.maketrans("IOQ", "JPR"))
    plain = plain[:VIN_CHECK] + vin_check(plain) + plain[VIN_CHECK + 1 :]
    return plain.lower() if value.islower() else plain


def date(rng: Random, value: str, language: str = "en") -> str:
    """Months, days and names of days become others, in the same writing; a year of four digits stays.

    `language` (en, de, fr, es): whose name it is where several languages write it so ("mai").
    """
    return _DATE_PART.sub(lambda m: _date_part(rng, m[0], language), value)


def _date_part(rng: Random, part: str, language: str) -> str:
    if part.isdecimal():
        if len(part) > 2:
            return part
        number = int(part)
        low, high = (1, _MOST_MONTHS) if number <= _MOST_MONTHS else (_MOST_MONTHS + 1, _MOST_DAYS)
        return str(rng.randint(low, high) if number <= _LAST_DAY else rng.randint(_LAST_DAY + 1, 99)).zfill(len(part))
    folded = part.casefold()
    lists = [*_DATE_NAMES[language], *(names for lists in _DATE_NAMES.values() for names in lists)]
    for short in (False, True):
        for names in lists:
            forms = [n[:3] for n in names] if short else list(names)
            if folded in forms:
                made = rng.choice(forms)
                return made.upper() if part.isupper() else made.capitalize() if part[0].isupper() else made
    return part


def phone(rng: Random, value: str, region: str) -> str:
    """A number of the same country, written the same way. `region`: where a number without a country code belongs."""
    import phonenumbers

    try:
        number = phonenumbers.parse(value, region)
    except phonenumbers.NumberParseException:
        return same_shape(rng, value)
    national, digits = str(number.national_number), "".join(map(str, _digits(value)))
    at = digits.rfind(national)
    if at < 0:
        return same_shape(rng, value)
    made = _national(rng, number.country_code or 0, national, phonenumbers)
    rest = len(digits) - at - len(national)
    return _refilled(value, [*map(int, digits[:at] + made), *(rng.randrange(10) for _ in range(rest))])


def _national(rng: Random, country: int, national: str, phonenumbers: Any) -> str:
    nanp = country == _NANP and len(national) == _NANP_DIGITS
    home = phonenumbers.region_code_for_number(phonenumbers.PhoneNumber(country, int(national)))
    fiction = [p for p in _FICTION.get(country, ()) if len(national) - len(p) in _FREE_DIGITS]
    made = national
    for _ in range(_TRIES):
        if nanp:
            # Of each area code, 555-0100 to 555-0199 are given to nobody (NANPA, fictitious use).
            made = f"{rng.randrange(200, 1000)}55501{rng.randrange(100):02d}"
        elif fiction:
            prefix = rng.choice(fiction)
            made = prefix + "".join(str(rng.randrange(10)) for _ in national[len(prefix) :])
        else:
            made = national[0] + "".join(str(rng.randrange(10)) for _ in national[1:])
        number = phonenumbers.PhoneNumber(country, int(made))
        if phonenumbers.region_code_for_number(number) == home and (nanp or phonenumbers.is_valid_number(number)):
            break
    return made


def _digits(value: str) -> list[int]:
    return [unicodedata.digit(c) for c in value if c.isdigit()]


def _refilled(value: str, digits: list[int]) -> str:
    """The value with its digits replaced in order; one that lacks some of them gets the first."""
    new = iter(digits)
    return "".join(str(next(new, 0)) if c.isdigit() else c for c in value)


def _two(rng: Random) -> list[int]:
    return [*divmod(rng.randrange(1, 100), 10)]


def _four(rng: Random) -> list[int]:
    return [int(d) for d in f"{rng.randrange(1, 10_000):04d}"]
