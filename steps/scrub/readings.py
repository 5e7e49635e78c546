"""A text as the patterns read it: as it looks, with an edge between scripts, and with escapes written out.

Patterns ask for the edge of a word, and to Unicode a Latin letter or a digit right beside one of another script is
inside one. Chinese, Japanese and Thai have no spaces, Korean and Japanese add endings: an address there begins and ends
beside letters. So a space is read between them, in Cyrillic, Greek, Hebrew, Arabic and Indic scripts as well.
"""

import re
from collections.abc import Iterator, Sequence

from steps.engines.scan.patterns import Pattern
from steps.engines.scan.visible import IMITATED, Reading, VisibleText

# Letters and signs of scripts other than Latin, by blocks of Unicode 15.
_BLOCKS = (
    (0x0370, 0x03FF), (0x0400, 0x052F), (0x0530, 0x109F), (0x10A0, 0x13FF), (0x1780, 0x18AF), (0x1A20, 0x1AAF),
    (0x1B00, 0x1C7F), (0x1F00, 0x1FFF), (0x2DE0, 0x2DFF), (0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3040, 0x31FF),
    (0x3400, 0x4DBF), (0x4E00, 0xA4CF), (0xA640, 0xA69F), (0xA8E0, 0xA97F), (0xAA00, 0xAAFF), (0xABC0, 0xD7FF),
    (0xF900, 0xFAFF), (0xFB1D, 0xFDFF), (0xFE70, 0xFEFC), (0xFF66, 0xFFDC), (0x1B000, 0x1B16F), (0x20000, 0x3FFFF),
)  # fmt: skip
_OTHER = "".join(f"{chr(first)}-{chr(last)}" for first, last in _BLOCKS)
_LATIN = "0-9A-Za-z_"
_RUN = re.compile(f"[{_OTHER}]+")
_IS_LATIN, _IS_LETTER = re.compile(f"[{_LATIN}]"), re.compile("[A-Za-z]")
# Those in which a word has no edge of its own.
UNSPACED = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u3007\u3040-\u31ff\u3400-\u4dbf\u4e00-\ua4cf"
    "\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff66-\uffdc\U0001b000-\U0001b16f\U00020000-\U0003ffff]"
)
# Percent escapes (RFC 3986), character references of HTML, escapes of program texts; also escaped twice. Names of
# references: of signs that stand in addresses and numbers.
_NAMES = {
    "commat": "@", "period": ".", "plus": "+", "hyphen": "-", "dash": "-", "lowbar": "_", "UnderBar": "_", "colon": ":",
    "num": "#", "sol": "/", "lpar": "(", "rpar": ")", "nbsp": " ",
}  # fmt: skip
_ASCII = "[2-7][0-9A-Fa-f]"
_ESCAPES = (
    rf"%(?:25)?{_ASCII}",
    r"(?:%(?:25)?[89A-Fa-f][0-9A-Fa-f])+",
    rf"\\(?:u00|x){_ASCII}",
    r"&(?:amp;)?#(?:[xX][0-9A-Fa-f]{1,6}|[0-9]{1,7});?",
    rf"&(?:amp;)?(?:{'|'.join(_NAMES)});",
)
_ESCAPE = re.compile("|".join(_ESCAPES))
_MOST = 0x10FFFF
# RE2: what a text holds that is read otherwise than it stands there, beside `DISGUISED` ones.
READ_OTHERWISE = (
    Pattern("between scripts", f"[{_LATIN}][{_OTHER}]|[{_OTHER}][{_LATIN}]", ignore_case=False),
    Pattern("escaped", "|".join(_ESCAPES), ignore_case=False),
)


class View:
    """A reading of a reading of ... a text; `place` gives offsets in the first text."""

    def __init__(self, layers: Sequence[Reading]) -> None:
        self._layers = [layer for layer in layers if layer.changed]
        self.text = layers[-1].text

    def place(self, start: int, end: int) -> tuple[int, int]:
        """Where text[start:end] (not empty) stands."""
        for layer in reversed(self._layers):
            start, end = layer.place(start, end)
        return start, end


def views(text: str) -> list[View]:
    """The text as it looks, with an edge between scripts. It holds no lone surrogates.

    Letters beside Latin ones that all look like Latin ones are read twice: as such, and as what they are ("grκαι").
    """
    if text.isascii():
        return [View([Reading(text, ())])]
    seen, apart = _view(text, imitating=True), _view(text, imitating=False)
    return [seen] if seen.text == apart.text else [seen, apart]


def _view(text: str, imitating: bool) -> View:
    # Before the look too: "example.ruсайт" would be read as a Latin word in disguise.
    layers = [Reading(text, _edges(text, imitating))]
    layers.append(VisibleText(layers[-1].text))
    layers.append(Reading(layers[-1].text, _edges(layers[-1].text, imitating)))
    return View(layers)


class Unescaped:
    """A text with its escapes written out."""

    def __init__(self, text: str) -> None:
        self._reading = Reading(text, _plain(text) if "%" in text or "&" in text or "\\" in text else ())
        self.text = self._reading.text

    @property
    def changed(self) -> bool:
        """Whether there is an escape."""
        return self._reading.changed

    def place(self, start: int, end: int) -> tuple[int, int] | None:
        """Where text[start:end] stands in the text as it was; None: without an escape in it."""
        first, last = self._reading.place(start, end)
        return (first, last) if last - first > end - start else None


def _edges(text: str, imitating: bool) -> Iterator[tuple[int, int, str]]:
    """Where a space is read between letters of two scripts; `imitating`: none beside letters that look Latin."""
    for run in _RUN.finditer(text):
        start, end = run.span()
        before, behind = text[start - 1 : start], text[end : end + 1]
        imitates = imitating and IMITATED.issuperset(run.group())
        if _IS_LATIN.match(before) and not (imitates and _IS_LETTER.match(before)):
            yield start, start, " "
        if _IS_LATIN.match(behind) and not (imitates and _IS_LETTER.match(behind)):
            yield end, end, " "


def _plain(text: str) -> Iterator[tuple[int, int, str]]:
    for match in _ESCAPE.finditer(text):
        if (plain := _meant(match.group())) is not None:
            yield *match.span(), plain


def _meant(escape: str) -> str | None:
    """What an escape stands for; None for what is none after all."""
    if escape[0] == "%":
        try:
            return bytes.fromhex(re.sub("%(?:25(?=[0-9A-Fa-f]{2}))?", "", escape)).decode()
        except UnicodeDecodeError:
            return None
    if escape[0] == "\\":
        return chr(int(escape[-2:], 16))
    name = escape.replace("amp;", "", 1).strip("&;")
    if name[0] != "#":
        return _NAMES[name]
    code = int(name[2:], 16) if name[1] in "xX" else int(name[1:])
    return chr(code) if 0x20 <= code <= _MOST and not 0xD800 <= code < 0xE000 else None
