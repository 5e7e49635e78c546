"""STREET_ADDRESS: a street with its house number, a post box or a military address, with unit, town and code behind it.

An anchor (a form that is an address by itself) is found in one RE2 pass; it then takes in the unit before or behind
it and the lines down to the postal code. Street words: USPS Publication 28, appendix C, for English; the common ones of
German, French and Spanish, and of their neighbours, whose addresses look alike in any text. The forms are ours.
"""

import re
from collections.abc import Iterator

import re2

from steps.scrub.config import ScrubConfig
from steps.scrub.findings import Finding
from steps.scrub.recognizers import zip_code
from steps.scrub.recognizers.forms import Form, FormDetector
from steps.scrub.recognizers.letters import CAPITAL, LETTER, RECOGNIZER, capitalised
from steps.scrub.recognizers.zip_code import CA, GB

ENTITY = "STREET_ADDRESS"
_UNIT_ANCHOR = f"{RECOGNIZER} (unit)"

_SMALL = (
    r"(?:of|the|de[il]?|degli|dell[ae]|d[aiou]|dos|das|des|l[aeo]s?|les|el|en|de[rnm]|die|van|von|zum|zur|am|an|im|auf"
    r"|y|e|i|na|and)"
)
_ORDINAL = r"[0-9]{1,3}(?:st|nd|rd|th)"
_NAME = rf"(?:(?:{CAPITAL}|{_SMALL}|{_ORDINAL}|d['’]{CAPITAL})[ ]){{0,4}}(?:{CAPITAL}|{_ORDINAL})"
_HOUSE = r"[0-9]{1,5}(?:[A-Ha-h]|[-/][0-9]{1,5})?"
# Some blocks have a number of their own before the house's.
_NUMBERS = rf"(?:[0-9]{{1,6}} )?{_HOUSE}"

_EN_WORDS = (
    "Street|Avenue|Road|Boulevard|Lane|Drive|Court|Place|Square|Terrace|Way|Highway|Parkway|Circle|Trail|Crescent|"
    "Close|Grove|Gardens|Mews|Alley|Turnpike|Expressway|Crossing|Parade|Esplanade|Wharf"
)
_EN_SHORT = "St|Ave?|Rd|Blvd|Ln|Dr|Ct|Pl|Sq|Ter|Hwy|Pkwy|Cir|Cres|Tpke"
_EN_NAME = rf"(?:(?:{CAPITAL}|{_SMALL}|{_ORDINAL})[ ]){{1,4}}"
_DIRECTION = r"(?: (?:North|South|East|West|N\.?[EW]?\.?|S\.?[EW]?\.?|E\.?|W\.?)\b)?"
# Endings of one-word street names: German, Dutch, Scandinavian, Finnish, Icelandic.
_ENDINGS = (
    "straße|strasse|str\\.|gasse|weg|platz|allee|damm|ufer|steig|chaussee|promenade|straat|laan|plein|gracht|kade|dreef|"
    "gatan|gata|gaten|vägen|veien|vegen|veg|vej|gade|stræde|stien|plassen|katu|ntie|kuja|polku|vegur|stræti|braut"
)
_FIRST_WORDS = (
    "[Cc]alle|C/|[Aa]vda\\.?|[Aa]v\\.|[Aa]venida|Plaza|Pza\\.?|[Pp]aseo|Ronda|Camino|Carretera|Ctra\\.?|Travesía|"
    "Rua|Travessa|Largo|Praça|Via|Viale|Piazza|Corso|Vicolo|[Uu]l\\.|[Oo]s\\.|Strada|Trg|Λεωφόρος|Οδός"
)
_DE_FIRST_WORDS = "Am|An der|Im|In der|Auf der|Zum|Zur|Unter den"
_FR_WORDS = "[Rr]ue|[Aa]venue|[Aa]v\\.|[Bb]oulevard|[Bb]d\\.?|[Cc]hemin|[Ii]mpasse|[Aa]llée|[Qq]uai|[Ss]entier|[Vv]illa"
_FR_WEAK = "[Pp]lace|[Rr]oute|[Cc]ours|[Ss]quare|[Pp]assage"
_FR_OF = r"(?:de la |de l['’]|des? |du |d['’]|la |les? |l['’])"
_HU_WORDS = "utca|u\\.|út|útja|tér|tere|körút|krt\\."
_UNIT = (
    r"(?i:Apt|Apartment|Suite|Ste|Unit|Flat|Appt|Appartement|Wohnung|Whg|Piso|Depto)\b\.? ?#? ?[0-9]{1,5}[A-Za-z]?\b"
)
_MILITARY = (
    r"(?:(?:PSC|CMR|Unit|USS|USNS|USNV|USCGC)\b[^\r\n.?!]{1,40}?(?:, ?|\r?\n ?|[ ]))?\b[AFD]PO,? A[AEP],? [0-9]{5}\b"
)
_ENDED = r"(?:\s*[.,;!?)\r\n]|\s*$|\s+(?:in|for|after|before|and|on|by)\b|\s+(?i:street|st|Apt|Suite|Unit|Flat)\b)"
# No amount of money, no decimal, no part of a longer word.
_ALONE = r"(?:^|[^\w$€£.,-])"
_CUES = (
    r"(?:address(?:es)?|adresse|anschrift|dirección|domicilio)(?:\s(?:is|are|was|to|with|at|ist|lautet|est|es))?|"
    r"(?:live|lives|lived|living|reside|resides|resided|residing|wohne|wohnt|wohnhaft|habite|vivo|vive)"
    r"\s(?:on|at|in der|am|au|en)|(?:north|south|east|west) side of|"
    r"(?:located|office is|restaurant is|store is|shop is|house is|home is|clinic is|me|you|us|off)\sat|"
    r"(?:deliver|delivered|ship|shipped|send it|send them|please return|return it|taxi|cab)\sto|enter\son"
)
# Lower-case words that may stand in an address.
_LOWER = re.compile(
    rf"(?i){_SMALL}|d['’].*|the|corner|calle|avda|avenue|av|avenida|paseo|ul|os|rue|boulevard|bd|chemin|impasse|allée|"
    "quai|sentier|villa|place|route|cours|square|passage|utca|u|út|útja|tér|tere|körút|krt|bis|ter|nº|no"
)
# Things that are numbered and no streets.
_NO_STREET = re.compile(
    r"(?i)\b(?:gate|room|chapter|exit|terminal|platform|level|floor|pier|building|route|interstate|highway|studio|section|"
    r"page|table|area|district|zone|windows|version|step|question|line|figure|act|scene|part|book|volume|number|no|"
    r"january|february|march|april|may|june|july|august|september|october|november|december) [0-9]"
)
_NO_COURT = re.compile(r"\b(?:Supreme|District|High|Appeals|Superior|Circuit|Crown|Federal|County|Tennis) Court$")
# "highways 6 and 7", "the 3 of them": a number that isn't a house's.
_NO_HOUSE = re.compile(r"[0-9]\S* (?:and|of|y|e|und|et) ")
_NO_ENDING = re.compile(r"(?i)(?:brigade|renegade|auntie|norweg)\b")
_YEAR = re.compile(r"(?:1[89]|20)\d\d")

# Lines may be quoted or listed, and one may be empty.
_LINE = r"[ ,]{0,2}\r?\n(?:[ \t]{0,3}\r?\n)?[>|*•?-]{0,3}[ ,]{0,3}"
_GAP = rf"(?:[ ,]{{1,3}}|{_LINE})"
# Universal Postal Union, addressing systems: Poland, Portugal, Sweden and its like, the Netherlands; then digits only.
_DIGIT_CODE = (
    r"(?:[0-9]{2}-[0-9]{3}|[0-9]{4}-[0-9]{3}|[0-9]{3} [0-9]{2}|[0-9]{4} [A-Z]{2}|"
    r"(?:[A-Z]{1,2}-)?(?:[0-9]{5,6}(?:-[0-9]{4})?|(?:1[0-7]|2[1-9]|[03-9][0-9])[0-9]{2}))"
)
# Two or three small letters behind a comma, a line's end or before the code are a state as people type it.
_TOWN = (
    rf"(?:{_GAP}(?:{_SMALL} ){{0,2}}(?:{CAPITAL}|\([^()\r\n]{{1,25}}\))"
    rf"|(?:, ?|{_LINE})[a-z]{{2,3}}\b)"
)
# Words of up to two letters are initials, directions and "St."; of longer ones these are abbreviated, no others
# ("deliver to Lyon. Invoice 88").
_INITIAL = 2
_ABBREVIATIONS = re.compile(
    "ave|blvd|hwy|pkwy|cir|cres|tpke|ter|apt|ste|str|bldg|rte|ctra|avda|avd|pza|pta|urb|edif|izq|dcha|chem|imp|krt|utca|"
    "gen|col|capt|maj|sgt|prof|rev|msgr|mgr|hon|sta|sto|prov|attn|ext|unit"
)
# What belongs to an address behind its street: units, then a town with a code behind or before it.
_TAIL = (
    rf"(?:{_GAP}(?:{_UNIT}|# ?[0-9]{{1,5}}[A-Za-z]?\b)){{0,2}}"
    rf"(?:{_GAP}(?P<first>{_DIGIT_CODE})(?: {CAPITAL}){{1,3}}"
    rf"|{_TOWN}{{0,8}}?(?:{_GAP}[a-z]{{2,3}})?{_GAP}(?P<last>{_DIGIT_CODE}|{GB}|{CA})\b)?"
)
_BULLET = re.compile(r"[>|*•?-]{1,3}")
# "12 oak street", "12 oldfield 7": all in small letters, right before a unit.
_SMALL_STREET = re.compile(
    rf"(?:^|\s)(?P<street>(?:[0-9]{{1,6}} ){{1,2}}(?:[^\W\d_]+ ){{1,4}}?"
    rf"(?:[0-9]{{1,5}}|(?i:{_EN_WORDS}|{_EN_SHORT})\.?)),?\s{{0,3}}$"
)
# Chosen: lines of addresses are short, and what is farther away belongs to something else.
_TAIL_CHARACTERS = 120
_LEFT_CHARACTERS = 90


def forms() -> Iterator[Form]:
    """The anchors: what is an address by itself, and units, which are one with a street before them."""
    for regex, score in (
        (rf"(?m){_ALONE}(?P<value>{_NUMBERS} {_EN_NAME}(?:{_EN_WORDS})\b{_DIRECTION})", 0.6),
        # Followed by a name some of these are "Saint" and "Doctor": they need an end, or a unit, behind them.
        (rf"(?m){_ALONE}(?P<value>{_NUMBERS} {_EN_NAME}(?:{_EN_SHORT})\b\.?)"
         r"(?:[ ]?[,;)\n]|[ ]+[a-z0-9#]|[ ]+(?:Apt|Suite|Ste|Unit|Flat)\b|[ ]*[.?!]?\s*$)", 0.6),
        (rf"(?P<value>(?:{_NUMBERS} )?(?:{CAPITAL} ){{0,3}}(?:{LETTER}|-){{2,}}(?:{_ENDINGS}) ?{_HOUSE})\b", 0.6),
        (rf"(?m)(?:^|[\s(\"',;:])(?P<value>(?:{_NUMBERS} )?(?:{_FIRST_WORDS}) ?{_NAME},? (?:n[º°o]\.? ?)?{_HOUSE})\b",
         0.55),
        # "I Am Legend 2" is no street.
        (rf"(?m)(?:^|[^I\s]\s|[(\"',;:])(?P<value>(?:{_DE_FIRST_WORDS}) {_NAME} {_HOUSE})\b", 0.55),
        (rf"\b(?P<value>{_NUMBERS}(?: ?bis| ?ter)?,? (?:(?:{_FR_WORDS}) {_FR_OF}{{0,2}}|(?:{_FR_WEAK}) {_FR_OF})"
         rf"{CAPITAL}(?: (?:{CAPITAL}|{_SMALL} {CAPITAL})){{0,3}})", 0.6),
        (rf"(?P<value>(?:{_NUMBERS} )?{_NAME} (?:{_HU_WORDS}) {_HOUSE})\b", 0.55),
        (r"\b(?P<value>(?:[0-9]{1,6} )?P\.? ?O\.? ?Box [0-9]{1,6})\b", 0.6),
        (r"\b(?P<value>Postfach [0-9]{2,6})\b", 0.6),
        (_MILITARY, 0.9),
        (rf"(?P<value>\b(?i:the corner of) (?:[0-9]{{1,5}} )?{_NAME}(?: [0-9]{{1,5}})? (?:and|&) "
         rf"(?:[0-9]{{1,5}} )?{_NAME}(?: [0-9]{{1,5}}\b)?)", 0.5),
        (rf"(?m)\b(?i:{_CUES})[\s:,]{{1,3}}(?P<value>(?:[0-9]{{1,6}} ){{0,2}}{_NAME} {_HOUSE}){_ENDED}", 0.4),
        (rf"(?m)\b(?i:{_CUES})[\s:,]{{1,3}}(?P<value>(?:[0-9]{{1,6}} )?[0-9]{{1,5}} {_NAME}){_ENDED}", 0.4),
    ):  # fmt: skip
        yield Form(ENTITY, regex, score, confirm=_is_street, recognizer=RECOGNIZER)
    # No street word, but a town with its code on the next line or behind a comma.
    yield Form(
        ENTITY,
        rf"(?P<value>\b(?:[0-9]{{1,6}} )?{_NAME} {_HOUSE})(?:, ?|{_LINE}){CAPITAL}{_TOWN}{{0,6}}?"
        rf"(?:{_GAP}[a-z]{{2,3}})?{_GAP}[0-9]{{5}}\b",
        0.4,
        confirm=_is_street,
        recognizer=RECOGNIZER,
    )
    yield Form(ENTITY, rf"\b{_UNIT}", 0.6, recognizer=_UNIT_ANCHOR)


def _is_street(value: str) -> bool:
    words = [word.strip(".,()") for word in value.split()]
    if any(w[:1].isalpha() and not (capitalised(w) or _LOWER.fullmatch(w)) for w in words):
        return False
    # A sentence that ends inside.
    if any(_ends_a_sentence(w) for w in value.split()[:-1]):
        return False
    return (
        not _NO_STREET.search(value)
        and not _NO_HOUSE.match(value)
        and not _NO_COURT.search(value)
        and not _NO_ENDING.search(value)
    )


def _ends_a_sentence(word: str) -> bool:
    if word[-1] != "." or word[0].isdigit() or word.endswith("str."):
        return False
    letters = word.strip(".,()").casefold()
    return len(letters) > _INITIAL and "." not in letters and not _ABBREVIATIONS.fullmatch(letters)


class AddressDetector:
    """Street addresses; a TextDetector."""

    def __init__(self, config: ScrubConfig) -> None:
        self._anchors = FormDetector(list(forms()), config)
        self._tail = re2.compile(_TAIL)
        groups = self._tail.groupindex
        self._code_groups = (groups["first"], groups["last"])
        self._wants_codes = zip_code.ENTITY in config.wanted

    def find(self, text: str) -> list[Finding]:
        """Anchors with what belongs to them, and postal codes that belong to them; several may overlap."""
        return [finding for anchor in self._anchors.find(text) for finding in self._extended(text, anchor)]

    def _extended(self, text: str, anchor: Finding) -> Iterator[Finding]:
        """Nothing for a unit without a street, or a number that is likelier a year."""
        start, end = anchor.start, anchor.end
        if anchor.recognizer == _UNIT_ANCHOR:
            begin = _street_before(text, start)
            if begin is None or _NO_STREET.search(text[begin:start]):
                return
            start = begin
        if _ends_a_sentence(text[start:end].rsplit(maxsplit=1)[-1]):
            end -= 1
        tail = self._tail.match(text[end : end + _TAIL_CHARACTERS])
        length = len(tail.group().removesuffix("."))
        if not length and start == anchor.start and _is_year(text[start:end]):
            return
        yield anchor._replace(start=start, end=end + length, recognizer=RECOGNIZER)
        # (-1, -1) for a code that isn't there
        a, b = max(tail.span(number) for number in self._code_groups)
        if a >= 0 and self._wants_codes:
            yield Finding(end + a, end + b, zip_code.ENTITY, anchor.score, RECOGNIZER)


def _is_year(value: str) -> bool:
    """Whether the only number in it looks like a year: "the 1929 Wall Street crash", "Plaza Accord 1985"."""
    numbers = re.findall(r"\d+", value)
    return len(numbers) == 1 and _YEAR.fullmatch(numbers[0]) is not None


def _street_before(text: str, unit: int) -> int | None:
    """Where the street begins that ends right before the unit: capitals, numbers, particles; None if there is none."""
    first = max(0, unit - _LEFT_CHARACTERS)
    small = _SMALL_STREET.search(text, first, unit)
    if small is not None:
        return small.start("street")
    begin: int | None = None
    words = numbers = breaks = 0
    for token in reversed(list(re.finditer(r"\n|[^\s]+", text[first:unit]))):
        value = token.group().strip(",")
        if token.group() == "\n" or (begin is None and _BULLET.fullmatch(value)):
            breaks += token.group() == "\n"
            if breaks > 1 or begin is not None:
                break
            continue
        cut = first > 0 and token.start() == 0
        if cut or not value or not _in_street(value):
            break
        numbers += value[0].isdigit()
        words += value[0].isupper()
        if not _LOWER.fullmatch(value):
            begin = first + token.start()
    return begin if words and numbers else None


def _in_street(token: str) -> bool:
    if token[-1] in ":;!?)" or _ends_a_sentence(token):
        return False
    return token[0].isdigit() or token[0].isupper() or _LOWER.fullmatch(token.strip(".")) is not None
