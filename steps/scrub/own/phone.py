"""PHONE_NUMBER: groups of digits that libphonenumber doesn't know as a number of the regions asked for.

They count only shortly after a word such as "phone" or "call": many other things are groups of digits. presidio's
recognizer, which knows numbering plans, finds the rest.
"""

import re
from collections.abc import Iterator

from steps.scrub.forms import Form
from steps.scrub.own.name import RECOGNIZER

ENTITY = "PHONE_NUMBER"
# ITU-T E.164: 15 digits at most. At least: policy of this stage (patterns.py).
_MOST_DIGITS = 15
_LEAST_DIGITS = 7
_CONTEXT = (
    "phone", "phones", "telephone", "tel", "mobile", "cell", "cellphone", "fax", "whatsapp", "sms", "hotline",
    "voicemail", "call", "calls", "calling", "called", "dial", "ring", "desk", "answering", "contact", "message",
    "messages", "telefon", "handy", "mobil", "mobilnummer", "rufnummer", "festnetz", "anrufen", "téléphone",
    "portable", "tél", "appelez", "appeler", "teléfono", "móvil", "llame", "llamar", "llámame",
)  # fmt: skip
# +49 (0)30 901820, 71-33-52-22, (99) 645-791, 21 284 698 2548 x12
_GROUPED = (
    r"(?:\+ ?)?(?:\([0-9]{1,5}\)|[0-9]{1,5})(?: ?\([0-9]{1,5}\))?[ .-]{0,3}[0-9]{2,8}(?:[ .-][0-9]{2,8}){0,5}"
    r"(?: ?(?:x|ext\.?) ?[0-9]{1,5})?"
)
_WHOLE = rf"(?m)(?:^|[^\w.+/$€£:-])(?P<value>{_GROUPED})(?:[.]?(?:[^\w./%€$-]|$))"
_DATE = re.compile(r"\d{4}[-. ]\d{1,2}[-. ]\d{1,2}|\d{1,2}[-. ]\d{1,2}[-. ]\d{4}|[12]\d{3}[- ][12]\d{3}")


def forms() -> Iterator[Form]:
    """Groups of digits after a word of telephony."""
    yield Form(ENTITY, _WHOLE, 0.05, context=_CONTEXT, confirm=is_number, recognizer=RECOGNIZER)


def is_number(value: str) -> bool:
    """Whether it has the digits of a telephone number and isn't a date, a range of years or a decimal."""
    digits = sum(c.isdigit() for c in value)
    return (
        _LEAST_DIGITS <= digits <= _MOST_DIGITS
        and _DATE.fullmatch(value) is None
        and re.fullmatch(r"\d+\.\d+", value) is None
    )
