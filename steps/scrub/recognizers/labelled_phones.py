"""PHONE_NUMBER: groups of digits that libphonenumber doesn't know as a number of the regions asked for.

They count only shortly after a word such as "phone" or "call": many other things are groups of digits. presidio's
recognizer, which knows numbering plans, finds the rest.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from steps.scrub.config import ScrubConfig
from steps.scrub.findings import Finding
from steps.scrub.recognizers.forms import Form, FormDetector
from steps.scrub.recognizers.letters import RECOGNIZER

ENTITY = "PHONE_NUMBER"
# ITU-T E.164: 15 digits at most. At least: policy of this stage (presidio.py).
_MOST_DIGITS = 15
_LEAST_DIGITS = 7
_TELEPHONY = (
    "phone", "phones", "telephone", "tel", "mobile", "cell", "cellphone", "fax", "whatsapp", "sms", "hotline",
    "voicemail", "call", "calls", "calling", "called", "dial", "ring", "desk", "answering", "contact", "message",
    "messages", "telefon", "handy", "mobil", "mobilnummer", "rufnummer", "festnetz", "anrufen", "téléphone",
    "portable", "tél", "appelez", "appeler", "teléfono", "móvil", "llame", "llamar", "llámame",
)  # fmt: skip
# These announce other numbers as well, so the number must be written in groups.
_VAGUE = ("number", "numbers", "reach", "text", "extension")
# Numbers that go by another name, looked for in the same words before the value.
_OTHER = re.compile(
    r"(?i)\b(?:account|acct|bank|build|card|case|cc|claim|code|confirmation|credit|customer|debit|employee|flight|id|invoice|"
    r"isbn|issue|licen[cs]e|member|model|order|parcel|part|passport|policy|product|reference|routing|security|serial|sku|ssn|"
    r"tax|ticket|tracking|transaction|version|zip)\b"
)
# 3300-1100=2200
_ARITHMETIC = re.compile(r"\s?(?:=|<<)")
_BEFORE_CHARACTERS = 40
# +49 (0)30 901820, 71-33-52-22, (99) 645-791, 21 284 698 2548 x12
_GROUPED = (
    r"(?:\+ ?)?(?:\([0-9]{1,5}\)|[0-9]{1,5})(?: ?\([0-9]{1,5}\))?[ .-]?[0-9]{2,8}(?:[ .-][0-9]{2,8}){0,5}"
    r"(?: ?(?:x|ext\.?) ?[0-9]{1,5})?"
)
_WHOLE = rf"(?m)(?:^|[^\w.+/$€£:-])(?P<value>{_GROUPED})(?:[.]?(?:[^\w./%€$-]|$))"
# 78 651 450 is my phone; a number alone on its line
_BEFORE_WORD = (
    rf"(?m)(?:^|[^\w.+/$€£:-])(?P<value>{_GROUPED})[^\w\r\n.]{{1,3}}(?:[a-z']{{1,8}} ){{0,3}}"
    r"(?i:(?:tele|mobile |cell )?phone|mobile|cell|fax|whatsapp|telefon|handy|portable|móvil)\b"
)
_ALONE = rf"(?m)^[ \t]*(?P<value>{_GROUPED})[ \t\r]*$"
_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:[ .]\d{3})+")
_LEAST_GROUPS = 3
# Holds wherever one of the forms matches a number of enough digits; most texts have none.
CONDITION = r"[0-9](?:[ .()-]{0,5}[0-9]){6}"
_DATE = re.compile(r"\d{4}[-. ]\d{1,2}[-. ]\d{1,2}|\d{1,2}[-. ]\d{1,2}[-. ]\d{4}|[12]\d{3}[- ][12]\d{3}")


def forms() -> Iterator[Form]:
    """Digits after a word of telephony; groups of digits after a vaguer word."""
    yield Form(ENTITY, _WHOLE, 0.05, context=_TELEPHONY, confirm=is_number, recognizer=RECOGNIZER)
    yield Form(ENTITY, _BEFORE_WORD, 0.4, confirm=is_number, recognizer=RECOGNIZER)
    yield Form(ENTITY, _ALONE, 0.4, confirm=_stands_alone, recognizer=RECOGNIZER)
    grouped = Form(ENTITY, _WHOLE, 0.05, context=_VAGUE, recognizer=RECOGNIZER)
    yield replace(grouped, confirm=lambda value: is_number(value) and not value.isdigit())


class PhoneDetector:
    """Telephone numbers after a word that announces them and none that announces another number; a TextDetector."""

    def __init__(self, config: ScrubConfig) -> None:
        self._forms = FormDetector(list(forms()), config)

    def find(self, text: str) -> list[Finding]:
        """Findings by form and place."""
        return [f for f in self._forms.find(text) if not _is_other(text, f)]


def _is_other(text: str, finding: Finding) -> bool:
    return bool(_ARITHMETIC.match(text, finding.end) or _OTHER.search(text, *_sentence_before(text, finding.start)))


def _sentence_before(text: str, start: int) -> tuple[int, int]:
    """(start, end) of what stands before in the same sentence or line, at most 40 characters of it."""
    first = max(0, start - _BEFORE_CHARACTERS)
    ends = (text.rfind(stop, first, start) for stop in ("\n", ". ", "? ", "! ", ", "))
    return max(first, *ends), start


def is_number(value: str) -> bool:
    """Whether it has the digits of a telephone number and isn't a date, a range of years or a decimal."""
    # The extension doesn't count.
    digits = sum(c.isdigit() for c in re.split("[xe]", value)[0])
    return (
        _LEAST_DIGITS <= digits <= _MOST_DIGITS
        and _DATE.fullmatch(value) is None
        and re.fullmatch(r"\d+\.\d+", value) is None
    )


def _stands_alone(value: str) -> bool:
    """Whether nothing else is written so: three groups or an area code, and no thousands separators."""
    groups = len(re.findall(r"\d+", value))
    return is_number(value) and (groups >= _LEAST_GROUPS or "(" in value) and not _THOUSANDS.fullmatch(value)
