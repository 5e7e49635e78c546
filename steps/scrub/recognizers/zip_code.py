"""ZIP_CODE: postal codes behind their label, or of a form of their own. Inside an address they are part of it."""

from collections.abc import Iterator, Sequence

from steps.scrub.recognizers.forms import Form
from steps.scrub.recognizers.letters import CAPITAL, RECOGNIZER

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
    "A[AEKPRZ]|C[AT]|DC|F[LM]|G[AU]|I[AL]|K[SY]|M[DHINOPST]|N[CDEHJMVY]|OH|P[RW]|RI|S[CD]|T[NX]|UT|V[AIT]|W[AIVY]"
)
# Words as well, in capitals; these count behind a town only.
_STATE_WORDS = "A[LS]|CO|DE|HI|I[DN]|LA|M[AE]|O[KR]|PA"
_STATE_NAMES = (
    "Alabama|Alaska|Arizona|Arkansas|California|Colorado|Connecticut|Delaware|Florida|Georgia|Hawaii|Idaho|Illinois|"
    "Indiana|Iowa|Kansas|Kentucky|Louisiana|Maine|Maryland|Massachusetts|Michigan|Minnesota|Mississippi|Missouri|Montana|"
    "Nebraska|Nevada|New (?:Hampshire|Jersey|Mexico|York)|(?:North|South) (?:Carolina|Dakota)|Ohio|Oklahoma|Oregon|"
    "Pennsylvania|Rhode Island|Tennessee|Texas|Utah|Vermont|(?:West )?Virginia|Washington|Wisconsin|Wyoming"
)
# Germany and the US, the Netherlands, Sweden and Czechia, Brazil, Japan, Poland and Portugal: what a code looks like
# when a word announces it. Four digits alone are a year as well.
FOUR = "(?:1[0-4]|2[1-9]|[3-9][0-9])[0-9]{2}"
LONG = rf"(?:[0-9]{{5}}(?:-[0-9]{{4}})?|[0-9]{{3}} [0-9]{{2}}|{CA})"
ENDED = r"(?:[.,;!?)](?:\s|$)|\s*$)"
_USUAL = (
    rf"(?:[0-9]{{5}}(?:-[0-9]{{3,4}})?|[0-9]{{4}} ?[A-Z]{{2}}|[0-9]{{3}} [0-9]{{2}}|[0-9]{{3}}-[0-9]{{4}}|"
    rf"[0-9]{{2}}-[0-9]{{3}}|[0-9]{{4}}-[0-9]{{3}}|{FOUR}|[0-9]{{6}}|{GB}|{CA})"
)
# The same words with others between them and the code.
_ANNOUNCED = (
    r"(?i)\b(?:zip(?:codes?)?|postcodes?|postal|PLZ|Postleitzahl)\b(?:[^\w\r\n]{1,3}\w+){0,4}?\W{1,4}"
    rf"(?P<value>(?-i:{_USUAL}))\b"
)
# 62704 is my zip code
_BEFORE_LABEL = r"\b(?:is|was|are|as)\s(?:(?:my|the|our|his|her|their|your|a|new|right|correct)\s){0,3}"
# What stands between a town and the end of an address: its country, as letters are addressed.
_COUNTRY = (
    r"(?:USA|U\.S\.A\.|United States(?: of America)?|Germany|Deutschland|France|Frankreich|Francia|Spain|España|"
    r"Spanien|Espagne|Italy|Italien|Italie|Italia|Mexico|México|Sweden|Schweden|Finland|Finnland|Poland|Polen|Greece)"
)
_BEFORE_COUNTRY = (
    rf"{CAPITAL},? (?P<value>[0-9]{{5}}(?:-[0-9]{{4}})?|[0-9]{{3}} [0-9]{{2}})(?:, |,?\n[ >]{{0,3}}){_COUNTRY}\b"
)
# D-12345 Neustadt: the prefixes of the old international form, those of neighbours with the same language among them.
_PREFIXED = {
    "de": "(?:D|DE)-[0-9]{5}|(?:A|AT|CH|LI)-[1-9][0-9]{3}",
    "fr": "(?:F|FR)-[0-9]{5}|(?:CH|BE|LU?)-[1-9][0-9]{3}",
    "es": "(?:E|ES)-[0-9]{5}",
}
# wohnt in 12345 Neustadt: code before town, where a sentence places somebody.
_PLACING = {
    "de": r"(?:wohn(?:e|t|en|haft)|leb(?:e|t|en)|geboren|zieh(?:e|t|en)|gezogen|Sitz) (?:\w+ ){0,2}?(?:in|nach|bei)",
    "fr": r"(?:habite[sz]?|habitons|vi[ts]|vivons|née?|domiciliée?|demeurant|situé[es]{0,2}) (?:\w+ ){0,2}?(?:à|au)",
    "es": r"(?:viv[eo]|vivimos|resid[eo]|nacid[oa]|domiciliad[oa]|situad[oa]) (?:\w+ ){0,2}?en",
}


def forms(locales: Sequence[str]) -> Iterator[Form]:
    """Codes behind a label of any of the locales' languages, where a place is meant, and the national forms."""
    languages = sorted({locale[:2] for locale in locales})
    labels = "|".join(_LABELS[language] for language in languages)
    labelled = rf"(?i)\b(?:{labels})\b{_LINK}\b(?P<value>{_ANY})\b"
    yield Form(ENTITY, labelled, 0.8, confirm=is_code, recognizer=RECOGNIZER)
    before = rf"(?i)\b(?P<value>{_ANY})\s{_BEFORE_LABEL}(?:{labels})\b"
    yield Form(ENTITY, before, 0.7, confirm=is_code, recognizer=RECOGNIZER)
    for regex in (_ANNOUNCED, _BEFORE_COUNTRY):
        yield Form(ENTITY, regex, 0.5, recognizer=RECOGNIZER)
    yield from _national(locales, languages)


def _national(locales: Sequence[str], languages: Sequence[str]) -> Iterator[Form]:
    regexes = []
    if "en_US" in locales:
        code = r"(?P<value>[0-9]{5}(?:-[0-9]{4})?)\b"
        regexes += [
            rf", (?:{_STATE_NAMES}),? {code}",
            rf"(?m){CAPITAL},? (?:{_STATE_NAMES}),? {code}{ENDED}",
            rf"\b(?:{US_STATES}),? {code}",
            rf"(?:,|[A-Z][a-z]+\.?) (?:{_STATE_WORDS}),? {code}",
        ]
    for language in languages:
        if language in _PREFIXED:
            regexes.append(rf"\b(?P<value>{_PREFIXED[language]}) {CAPITAL}")
            regexes.append(rf"\b{_PLACING[language]} (?P<value>[0-9]{{5}}) {CAPITAL}")
    for regex in regexes:
        yield Form(ENTITY, regex, 0.5, recognizer=RECOGNIZER)
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
