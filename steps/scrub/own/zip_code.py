"""ZIP_CODE: postal codes behind their label, or of a form of their own. Inside an address they are part of it."""

from collections.abc import Iterator, Sequence

from steps.scrub.forms import Form
from steps.scrub.own.name import CAPITAL, RECOGNIZER

ENTITY = "ZIP_CODE"
# Universal Postal Union, addressing systems: 3 to 10 characters, digits among them, at most one gap.
_ANY = r"(?:[A-Z]{1,2}-)?[A-Z0-9]{2,6}(?:[ -][A-Z0-9]{2,4})?"
_LABELS = {
    "en": r"zip(?:[\s_-]?codes?)?|post(?:al)?[\s_-]?codes?",
    "de": r"PLZ|Postleitzahl(?:en)?",
    "fr": r"code\s+postal",
    "es": r"c[óo]digo\s+postal|C\.P\.",
}
_LINK = r"[^\w\r\n]{0,4}(?:(?:is|was|of|for|to|here|my|it's|ist|lautet|est|es)\b[^\w\r\n]{1,3}){0,3}[\s:#=]{0,3}"
# Royal Mail's Postcode Address File, format of postcodes; without the letters that the second half never has.
GB = r"(?:[A-Z]{1,2}[0-9][A-Z0-9]? ?[0-9][ABD-HJLNP-UW-Z]{2}|GIR ?0AA)"
CA = r"[ABCEGHJ-NPRSTVXY][0-9][ABCEGHJ-NPRSTV-Z] ?[0-9][ABCEGHJ-NPRSTV-Z][0-9]"
# USPS Publication 28, appendix B: states, territories and military "states".
US_STATES = (
    "A[AEKLPRSZ]|C[AOT]|D[CE]|F[LM]|G[AU]|HI|I[ADLN]|K[SY]|LA|M[ADEHINOPST]|N[CDEHJMVY]|O[HKR]|P[ARW]|RI|S[CD]|T[NX]|"
    "UT|V[AIT]|W[AIVY]"
)
_STATE_NAMES = (
    "Alabama|Alaska|Arizona|Arkansas|California|Colorado|Connecticut|Delaware|Florida|Georgia|Hawaii|Idaho|Illinois|"
    "Indiana|Iowa|Kansas|Kentucky|Louisiana|Maine|Maryland|Massachusetts|Michigan|Minnesota|Mississippi|Missouri|Montana|"
    "Nebraska|Nevada|New (?:Hampshire|Jersey|Mexico|York)|(?:North|South) (?:Carolina|Dakota)|Ohio|Oklahoma|Oregon|"
    "Pennsylvania|Rhode Island|Tennessee|Texas|Utah|Vermont|(?:West )?Virginia|Washington|Wisconsin|Wyoming"
)
# Germany and the US, the Netherlands, Sweden and Czechia: what a code looks like when a word announces it.
_USUAL = rf"(?:[0-9]{{5}}(?:-[0-9]{{4}})?|[0-9]{{4}} ?[A-Z]{{2}}|[0-9]{{3}} [0-9]{{2}}|[0-9]{{4}}|[0-9]{{6}}|{GB}|{CA})"
# The same words with others between them and the code.
_ANNOUNCED = (
    r"(?i)\b(?:zip(?:codes?)?|postcodes?|postal|PLZ|Postleitzahl)\b(?:[^\w\r\n]{1,3}\w+){0,4}?\W{1,4}"
    rf"(?P<value>(?-i:{_USUAL}))\b"
)


# 62704 is my zip code
_BEFORE_LABEL = r"\b(?:is|was|are|as)\s(?:(?:my|the|our|his|her|their|your|a|new|right|correct)\s){0,3}"
# A town with its code, where a sentence places somebody; four digits are a year as well.
_TOWNS = rf"{CAPITAL}(?: {CAPITAL}){{0,3}}"
_FOUR = "(?:1[0-4]|2[1-9]|[3-9][0-9])[0-9]{2}"
_PLACED = rf"(?:[0-9]{{5}}(?:-[0-9]{{4}})?|{_FOUR}(?: [A-Z]{{2}})?|[0-9]{{3}} [0-9]{{2}}|{CA})"
_IN_A_TOWN = (
    rf"(?m)\b(?:live|lives|living|lived|moved?|moving|based|located|born|from|is|am)(?: (?:in|to|near|at|here))? "
    rf"{_TOWNS},? (?P<value>{_PLACED})(?:[.,;!?](?:\s|$)|\s*$)"
)


def forms(locales: Sequence[str]) -> Iterator[Form]:
    """Codes behind a label of any of the locales' languages, and the national forms of the English ones."""
    labels = "|".join(_LABELS[language] for language in sorted({locale[:2] for locale in locales}))
    labelled = rf"(?i)\b(?:{labels})\b{_LINK}\b(?P<value>{_ANY})\b"
    yield Form(ENTITY, labelled, 0.8, confirm=is_code, recognizer=RECOGNIZER)
    yield Form(ENTITY, _ANNOUNCED, 0.5, recognizer=RECOGNIZER)
    before = rf"(?i)\b(?P<value>{_ANY})\s{_BEFORE_LABEL}(?:{labels})\b"
    yield Form(ENTITY, before, 0.7, confirm=is_code, recognizer=RECOGNIZER)
    yield Form(ENTITY, _IN_A_TOWN, 0.4, recognizer=RECOGNIZER)
    if "en_US" in locales:
        state = rf", (?:{_STATE_NAMES}),? (?P<value>[0-9]{{5}}(?:-[0-9]{{4}})?)\b"
        yield Form(ENTITY, state, 0.5, recognizer=RECOGNIZER)
        yield Form(ENTITY, rf"\b(?:{US_STATES}),? (?P<value>[0-9]{{5}}(?:-[0-9]{{4}})?)\b", 0.5, recognizer=RECOGNIZER)
    if "en_GB" in locales:
        yield Form(ENTITY, rf"\b(?P<value>{GB})\b", 0.5, confirm=_has_gap, recognizer=RECOGNIZER)


def is_code(value: str) -> bool:
    """Whether it has the digits of a code: three at least, or two beside letters; 3 to 10 characters."""
    digits = sum(c.isdigit() for c in value)
    letters = sum(c.isalpha() for c in value)
    return 3 <= digits + letters <= 10 and (digits >= 3 or (digits >= 2 and 2 <= letters <= 4 and value.isupper()))


def _has_gap(value: str) -> bool:
    # Without its gap a postcode looks like any other code (part numbers, cell names).
    return " " in value
