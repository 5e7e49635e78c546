"""IBAN_CODE in small letters or any grouping, by length and check digits; presidio finds the usual writing."""

from collections.abc import Iterator

from steps.scrub.recognizers.forms import Form
from steps.scrub.recognizers.letters import RECOGNIZER

ENTITY = "IBAN_CODE"
_GROUPS = r"[A-Za-z]{2}[0-9]{2}(?:[ -]?[A-Za-z0-9]{4}){2,7}(?:[ -]?[A-Za-z0-9]{1,3})?"
# ISO 13616, lengths by country as in the SWIFT IBAN registry.
_LENGTHS = {
    15: "NO", 16: "BE", 18: "DK FI FO GL NL", 19: "MK SI", 20: "AT BA EE KZ LT LU XK", 21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "PT ST",
    26: "IS TR", 27: "FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HU LB PL SV", 29: "BR EG PS QA UA", 30: "JO KW MU",
    31: "MT SC", 32: "LC",
}  # fmt: skip


def forms() -> Iterator[Form]:
    """Account numbers whose check digits are right."""
    yield Form(ENTITY, rf"\b(?P<value>{_GROUPS})\b", 1.0, confirm=is_iban, recognizer=RECOGNIZER)


def is_iban(value: str) -> bool:
    """Whether the country has numbers of this length and the remainder is 1 (ISO 13616 with ISO 7064 MOD 97-10)."""
    code = "".join(c for c in value.upper() if c.isalnum())
    if code[:2] not in _LENGTHS.get(len(code), "").split():
        return False
    return int("".join(str(int(c, 36)) for c in code[4:] + code[:4])) % 97 == 1
