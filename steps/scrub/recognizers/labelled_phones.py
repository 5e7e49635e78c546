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
    "messages", "telefon", "telefonnummer", "telefax", "fon", "handy", "mobil", "mobilnummer", "rufnummer", "durchwahl",
    "festnetz", "anrufen", "téléphone", "portable", "tél", "appelez", "appeler", "teléfono", "móvil", "llame", "llamar",
    "llámame", "телефон", "тел", "звоните", "τηλέφωνο", "τηλ", "טלפון", "هاتف", "فون", "फ़ोन", "फोन",
)  # fmt: skip
# These announce other numbers as well, so the number must be written in groups.
_VAGUE = ("number", "numbers", "reach", "text", "extension")
# Of those above, names in code as well.
_NAMES = frozenset(
    {"cell", "call", "calls", "called", "ring", "desk", "contact", "message", "messages", "mobile", *_VAGUE}
)
# call(5551234567), number = 5551234567, x->call 5551234567, call_id, "most recent call last": what stands around a name
# in code.
_CODE_BEHIND = re.compile(r"\w*\s{0,2}(?:\(|\[|[^:]?=|->|::|_|\.\w)| last\):")
_CODE_BEFORE = re.compile(r"(?:\w_|[\w)\]]\.|->|::|\$|@|#)\Z")
# Numbers that go by another name, looked for in the same words before the value.
_OTHER = re.compile(
    r"(?i)\b(?:account|acct|bank|build|card|case|cc|claim|code|confirmation|credit|customer|debit|employee|flight|id|invoice|"
    r"isbn|issue|licen[cs]e|member|model|order|parcel|part|passport|pid|policy|ports?|product|reference|routing|security|"
    r"serial|sku|ssn|tax|ticket|tracking|transaction|uid|version|zip)\b"
)
# 3300-1100=2200
_ARITHMETIC = re.compile(r"\s?(?:=|<<)")
_BEFORE_CHARACTERS = 40
# As far as a context word counts (forms.py).
_CONTEXT_CHARACTERS = 200
_ANNOUNCING = frozenset({*_TELEPHONY, *_VAGUE})
# +49 (0)30 901820, 71-33-52-22, (99) 645-791, 21 284 698 2548 x12, 0664/123 45 67
_GROUPED = (
    r"(?:\+ ?)?(?:\([0-9]{1,5}\)|[0-9]{1,5})(?: ?\([0-9]{1,5}\))?(?:[ .-]| ?/ ?)?[0-9]{2,8}(?:[ .-][0-9]{2,8}){0,5}"
    r"(?: ?(?:x|ext\.?) ?[0-9]{1,5})?"
)
_WHOLE = rf"(?m)(?:^|[^\w.+/$€£:-])(?P<value>{_GROUPED})(?:[.]?(?:[^\w./%€$-]|$))"
# 78 651 450 is my phone; a number alone on its line
_BEFORE_WORD = (
    rf"(?m)(?:^|[^\w.+/$€£:-])(?P<value>{_GROUPED})[^\w\r\n.]{{1,3}}(?:[a-z']{{1,8}} ){{0,3}}"
    r"(?i:(?:tele|mobile |cell )?phone|mobile|cell|fax|whatsapp|telefon|handy|portable|móvil)\b"
)
# Labels of scripts whose words have no spaces between them.
_LABELS = (
    "电话|電話|手机|手機|联系方式|传真|傳真|携帯|連絡先|ファックス|전화|연락처|휴대폰|핸드폰|팩스|โทรศัพท์|โทร|เบอร์|มือถือ"
)
_LABELLED = rf"(?:{_LABELS})[^0-9+(\r\n]{{0,8}}(?P<value>{_GROUPED})(?:[.]?(?:[^\w./%€$-]|$))"
_ALONE = rf"(?m)^[ \t]*(?P<value>{_GROUPED})[ \t\r]*$"
_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:[ .]\d{3})+")
_LEAST_GROUPS = 3
# Holds wherever one of the forms matches a number of enough digits; most texts have none.
CONDITION = r"[0-9](?:[ .()/-]{0,5}[0-9]){6}"
_DATE = re.compile(r"\d{4}[-. ]\d{1,2}[-. ]\d{1,2}|\d{1,2}[-. ]\d{1,2}[-. ]\d{4}|[12]\d{3}[- ][12]\d{3}")


def forms() -> Iterator[Form]:
    """Digits after a word of telephony; groups of digits after a vaguer word."""
    yield Form(ENTITY, _WHOLE, 0.05, context=_TELEPHONY, confirm=is_number, recognizer=RECOGNIZER)
    yield Form(ENTITY, _BEFORE_WORD, 0.4, confirm=is_number, recognizer=RECOGNIZER)
    yield Form(ENTITY, _LABELLED, 0.4, confirm=is_number, recognizer=RECOGNIZER)
    yield Form(ENTITY, _ALONE, 0.4, confirm=_stands_alone, recognizer=RECOGNIZER)
    grouped = Form(ENTITY, _WHOLE, 0.05, context=_VAGUE, recognizer=RECOGNIZER)
    yield replace(grouped, confirm=lambda value: is_number(value) and not value.isdigit())


class PhoneDetector:
    """Telephone numbers after a word that announces them and none that announces another number; a TextDetector."""

    def __init__(self, config: ScrubConfig) -> None:
        self._forms = FormDetector(list(forms()), config)

    def find(self, text: str) -> list[Finding]:
        """Findings by form and place."""
        return [f for f in self._forms.find(text) if not (is_other(text, f.start, f.end) or _named(text, f.start))]


def is_other(text: str, start: int, end: int) -> bool:
    """Whether what stands around the number says that it is of another kind."""
    return bool(_ARITHMETIC.match(text, end) or _OTHER.search(text, *_sentence_before(text, start)))


def _named(text: str, start: int) -> bool:
    """Whether all words before the number that announce it are names in code."""
    before = text[max(0, start - _CONTEXT_CHARACTERS) : start]
    words = {word.casefold() for word in re.findall(r"\w+", before)} & _ANNOUNCING
    return bool(words) and words <= _NAMES and all(in_code(text, word, start) for word in words)


def in_code(text: str, word: str, start: int) -> bool:
    """Whether the last such word before this place is a name in code."""
    first = max(0, start - _CONTEXT_CHARACTERS)
    found = list(re.finditer(rf"(?i)(?<![^\W_]){re.escape(word)}(?![^\W_])", text[first:start]))
    if not found:
        return False
    begin, end = first + found[-1].start(), first + found[-1].end()
    return bool(_CODE_BEFORE.search(text[max(0, begin - 2) : begin]) or _CODE_BEHIND.match(text[end : start + 1]))


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
