"""ZIP_CODE where a sentence or the lines of a letter place somebody: "in Neustadt 12345 and", "stores near 62704?".

A place is followed by the next part of its sentence, an amount by what there are so many of. The forms are chosen.
"""

import re
from collections.abc import Iterator

from steps.scrub.config import ScrubConfig
from steps.scrub.findings import Finding
from steps.scrub.recognizers.forms import Form, FormDetector
from steps.scrub.recognizers.letters import CAPITAL, RECOGNIZER
from steps.scrub.recognizers.zip_code import ENDED, ENTITY, FOUR, GB, LONG

_TOWNS = rf"{CAPITAL}(?: {CAPITAL}){{0,3}}"
_LETTERED = rf"(?:{LONG}|{FOUR} [A-Z]{{2}})"
_GOES_ON = (
    r"(?:[.,;!?)](?:\s|$)|\s*$|\s(?:and|or|but|on|at|by|for|with|is|was|has|as|since|until|before|after|because|when|"
    r"where|while|if|that|which|who|to|in|from|near|around|during|via|through|instead|again|also|then|so|not|will|would|"
    r"can|could|should|does|did|there|here|my|your|our|today|tomorrow|tonight|now|soon|last|next|this|every|please)\b)"
)
_LIVING = r"live|lives|living|lived|moved?|moving|based|located|born"
_IN_A_TOWN = (
    # Four digits are a year as well, and count behind such a verb only.
    rf"(?m)\b(?:{_LIVING})(?: (?:in|to|near|at|here))? {_TOWNS},? (?P<value>{LONG}|{FOUR}(?: [A-Z]{{2}})?){_GOES_ON}",
    rf"(?m)\b(?:in|near|around|at|to|from) {_TOWNS},? (?P<value>{_LETTERED}){_GOES_ON}",
)
_SOUGHT = (
    "weather|forecast|temperature|atms?|banks?|branch(?:es)?|stores?|shops?|restaurants?|pharmac(?:y|ies)|hospitals?|"
    "clinics?|doctors?|dentists?|gyms?|hotels?|schools?|homes?|houses?|apartments?|rents?|delivery|deliveries|shipping"
)
# A code in place of a town: "stores near 62704?", "we deliver to 62704".
_INSTEAD = (
    rf"(?im)\b(?:(?:{_SOUGHT})(?: (?:is|are|it|there|like|located|today|tomorrow|available)){{0,3}}"
    r" (?:in|near|around|for|to|at|close to|nearest(?: to)?)"
    rf"|(?:{_LIVING}|reside[sd]?|relocated|deliver(?:s|ed)?|ship(?:s|ped)?) (?:in|at|to|near|within))"
    rf"(?: zip)? (?P<value>[0-9]{{5}}(?:-[0-9]{{4}})?){ENDED}"
)
_AREA = r"\bthe (?P<value>[0-9]{5}) (?:area|zip)\b"
# The lines of a letter: a street with its house number, one to three towns and countries, the code; no more numbers
# below, as a table would have.
_INDENT = r"[ \t>|*•?-]{0,6}"
_STREET = r"(?:(?:[0-9]{1,6}[A-Za-z]?,? ){1,2}[^\r\n.!?:;]{2,50}|[^\r\n.!?:;]{2,50} [0-9]{1,5}[A-Za-z]?)\.?,?"
_UNIT = "(?i:apt|suite|ste|unit|flat)\\.? ?#?[0-9]{1,5}[A-Za-z]?"
_TOWN = rf"(?:{_UNIT}|(?:{CAPITAL}|\(|,)[^\r\n0-9.!?:;]{{0,38}}),?"
_CODE_LINE = rf"(?:{_LETTERED}|{GB}|{FOUR}|[0-9]{{2}}-[0-9]{{3}}|[0-9]{{4}}-[0-9]{{3}}|[0-9]{{5}}-[0-9]{{3}})"
_BLOCK = (
    rf"(?m)^{_INDENT}{_STREET}[ \t\r]{{0,2}}\n(?:{_INDENT}{_TOWN}[ \t\r]{{0,2}}\n){{1,3}}"
    rf"{_INDENT}(?P<value>{_CODE_LINE})[.,]?[ \t\r]*(?:\n[^0-9]|\n?\z)"
)
# Things that have numbers, by the word before the number.
_NUMBERED = re.compile(
    r"(?i)\b(?:account|article|bug|build|case|chapter|code|count|error|event|exit|figure|flight|form|invoice|issue|item|"
    r"january|february|march|april|may|june|july|august|september|october|november|december|lot|level|line|model|"
    r"number|no\.?|order|page|part|patch|pin|port|problem|project|pr|question|release|revision|room|route|rule|section|"
    r"series|step|table|task|ticket|total|unit|version|windows|year)[ ,:#]{0,3}\Z"
)
_BEFORE_CHARACTERS = 20


def forms() -> Iterator[Form]:
    """Sentences, and lines of a letter."""
    for regex, score in ((_IN_A_TOWN[0], 0.4), (_IN_A_TOWN[1], 0.4), (_INSTEAD, 0.4), (_AREA, 0.5), (_BLOCK, 0.4)):
        yield Form(ENTITY, regex, score, recognizer=RECOGNIZER)


class ZipCodeSentenceDetector:
    """Codes where something is placed, and nothing else is numbered; a TextDetector."""

    def __init__(self, config: ScrubConfig) -> None:
        self._forms = FormDetector(list(forms()), config)

    def find(self, text: str) -> list[Finding]:
        """Findings by form and place."""
        return [f for f in self._forms.find(text) if not _is_numbered(text, f.start)]


def _is_numbered(text: str, start: int) -> bool:
    return _NUMBERED.search(text, max(0, start - _BEFORE_CHARACTERS), start) is not None
