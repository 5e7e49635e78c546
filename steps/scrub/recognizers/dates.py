"""DATE_TIME: dates with day, month or clock, birth dates, and years behind a preposition. The forms are ours (chosen).

presidio's own recognizer finds dates in digits; overlapping findings become one.
"""

from collections.abc import Iterator, Sequence

from steps.scrub.recognizers.forms import Form
from steps.scrub.recognizers.letters import RECOGNIZER

ENTITY = "DATE_TIME"
_MONTHS = {
    # "may" and "march" are verbs as well.
    "en": r"(?-i:May|MAY|Mar(?:ch)?|MAR(?:CH)?)|"
    r"Jan(?:uary)?|Feb(?:ruary)?|Apr(?:il)?|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|"
    r"Nov(?:ember)?|Dec(?:ember)?",
    "de": r"Januar|Jänner|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember",
    "fr": r"janvier|février|mars|avril|mai|juin|juillet|août|septembre|octobre|novembre|décembre",
    "es": r"enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre",
}
_YEAR = r"(?:1[89]|20)[0-9]{2}"
_DAY = r"(?:0?[1-9]|[12][0-9]|3[01])"
_MONTH = r"(?:0?[1-9]|1[0-2])"
_CLOCK = r"(?:[01]?[0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,6})?)?"
_ZONE = r"(?:\s?(?:Z|UTC|GMT|[+-][0-9]{2}:?[0-9]{2}))?"
_THEN_CLOCK = rf"(?:(?:T|,?\s){_CLOCK}{_ZONE}(?:\s?[AaPp]\.?[Mm]\b)?)?"
_DIGITS = (
    rf"\b{_YEAR}-{_MONTH}-{_DAY}{_THEN_CLOCK}\b",
    rf"\b{_YEAR}/{_MONTH}/{_DAY}{_THEN_CLOCK}\b",
    # Either order of day and month; separators of one kind, so that 1/2-3 is none.
    *(rf"\b(?:{_DAY}{s}{_MONTH}|{_MONTH}{s}{_DAY}){s}{_YEAR}{_THEN_CLOCK}\b" for s in ("/", r"\.", "-")),
)
_PREPOSITIONS = {
    "en": r"in|since|until|till|by|of|from|to|before|after|during|around|circa|founded|born|a|the|year|early|late|mid",
    "de": r"seit|bis|von|vor|nach|um|Jahr|Jahre|Anfang|Ende",
    "fr": r"en|depuis|jusqu'en|vers|dès|année",
    "es": r"en|desde|hasta|hacia|año",
}
_WEEKDAY = r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"


def forms(locales: Sequence[str]) -> Iterator[Form]:
    """Dates in digits and in the words of the locales' languages."""
    for regex in _DIGITS:
        yield Form(ENTITY, regex, 0.6, recognizer=RECOGNIZER)
    yield Form(ENTITY, rf"(?i)\b(?P<value>{_CLOCK}\s?[ap]\.?m\b\.?)", 0.5, recognizer=RECOGNIZER)
    for language in sorted({locale[:2] for locale in locales}):
        month = _MONTHS[language]
        of = r"(?:\s(?:of\s)?|\.\s|-)" if language in ("en", "de") else r"(?:er)?\s(?:de\s)?"
        last = rf"(?:,?[\s-](?:de\s|del\s)?{_YEAR}{_THEN_CLOCK})?"
        for regex in (
            rf"(?i)\b{_DAY}(?:st|nd|rd|th)?{of}(?:{month})\b\.?{last}",
            rf"(?i)\b(?:{month})\.?\s{_DAY}(?:st|nd|rd|th)?\b(?:,?\s{_YEAR}{_THEN_CLOCK}\b)?",
            rf"(?i)\b(?:{month})\.?,?\s(?:de\s|del\s)?{_YEAR}\b",
        ):
            yield Form(ENTITY, regex, 0.6, recognizer=RECOGNIZER)
        preposition = _PREPOSITIONS[language]
        yield Form(
            ENTITY, rf"(?im)\b(?:{preposition})\s(?P<value>{_YEAR})\b(?:[^0-9.,:%-]|[.,:]\D|[.,:]?$)", 0.4,
            recognizer=RECOGNIZER,
        )  # fmt: skip
    yield Form(ENTITY, rf"(?i)\b(?:on|next|this|last|meet|every|by|until) (?P<value>{_WEEKDAY})\b", 0.4,
               recognizer=RECOGNIZER)  # fmt: skip
