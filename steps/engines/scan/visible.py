"""Text as a human reads it: without invisible characters, with look-alike letters as the letters that they imitate.

Only characters that hide Latin text from a pattern are touched: zero-width and direction marks, odd spaces,
full-width, circled, mathematical and small-capital letters, marks put onto an ASCII letter, and Cyrillic, Greek or
Armenian letters inside a word that has ASCII letters too (a wholly Cyrillic word is Russian, not an imitation).
Letters with accents of their own stay.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial

from steps.engines.scan.coded import CODED, decoded
from steps.engines.scan.patterns import Hit, Pattern, PatternSet

# Soft hyphen, grapheme joiner, Arabic letter mark, Hangul fillers, Khmer and Mongolian inherent vowels, zero-width
# characters, direction marks, word joiner, invisible operators, byte order mark.
_HIDDEN = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f"
    "\u3164\ufeff\uffa0"
)
_SPACES = "\u00a0\u1680\u2000-\u200a\u202f\u205f\u2800\u3000"
_BREAKS = "\u0085\u2028\u2029"
# Modifier letters, circled and full-width Latin, Latin ligatures, mathematical and enclosed letters: NFKC gives ASCII.
_STYLED = (
    "\u02b0-\u02b8\u1d2c-\u1d6a\u2102-\u2134\u24b6-\u24e9\ufb00-\ufb06\uff01-\uff5e\U0001d400-\U0001d7ff"
    "\U0001f110-\U0001f149"
)
# Full-width punctuation is ordinary in Chinese and Japanese, so by itself only what opens a tag or a string counts.
_TELLING = _STYLED.replace("\uff01-\uff5e", "\uff02\uff07\uff1c\uff21-\uff3a\uff41-\uff5a")
_MARKS = "\u0300-\u036f\u20d0-\u20f0\ufe00-\ufe0f"
# Small capitals, dotless i, script g: not in NFKC.
_SMALL = dict(zip("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢıɡ", "abcdefghijklmnoprstuvwyzig", strict=True))
# Look-alikes of Latin letters; chosen from the single-letter confusables of Unicode UTS #39.
_IMITATIONS = {
    **dict(zip("асԁеһіјӏорԛѕԝухѵ", "acdehijlopqswyxv", strict=True)),
    **dict(zip("АВСЕНІЈКМОРԚЅТԜУХ", "ABCEHIJKMOPQSTWYX", strict=True)),
    **dict(zip("αικνορτυχγ", "aiknoptuxy", strict=True)),
    **dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABEZHIKMNOPTYX", strict=True)),
    **dict(zip("ցհոօսգ", "ghnouq", strict=True)),
}
IMITATED = frozenset(_IMITATIONS)
_LOOK = "".join(_IMITATIONS)
# One character class, for speed; then the parts of such a run.
_RUN = re.compile(f"[{_HIDDEN}{_SPACES}{_BREAKS}{_STYLED}{''.join(_SMALL)}{_MARKS}{_LOOK}]+")
_PART = re.compile(f"[{_LOOK}]+|[{_MARKS}]+|[{_HIDDEN}]+|.", re.DOTALL)
_IS_MARK = re.compile(f"[{_MARKS}]")
_NEAR = re.compile(f"[A-Za-z{_HIDDEN}]")
# RE2: whether a text can be anything but what it seems. Matches every text that VisibleText changes, except for
# full-width punctuation alone.
DISGUISED = Pattern(
    "disguised",
    f"[{_HIDDEN}{_SPACES}{_BREAKS}{_TELLING}{''.join(_SMALL)}]|[A-Za-z][{_MARKS}{_LOOK}]|[{_LOOK}][A-Za-z]",
    ignore_case=False,
)


# Chosen: characters of a text that are read at once (reading one that is disguised takes about 200 bytes each), and
# how long a match may be to be found wherever it stands.
_WINDOW = 200_000
_LONGEST_MATCH = 2_000
# Chosen: so many times a text is decoded that was decoded before.
_LAYERS = 3


def hits_as_seen(patterns: PatternSet, text: str) -> list[Hit]:
    """Hits in the text as it is, as it looks and as it is decoded, with places in the text as it is.

    By pattern, then by start, the longer of two first; each place once.
    """
    hits = set(patterns.hits(text))
    if not text.isascii() or _may_be_coded().matching(text):
        for start in range(0, len(text), _WINDOW):
            low = max(0, start - _LONGEST_MATCH)
            for seen, place in _views(text[low : start + _WINDOW + _LONGEST_MATCH]):
                for hit in patterns.hits(seen):
                    begin, end = (low + at for at in place(hit.start, hit.end))
                    if start <= begin < start + _WINDOW:
                        hits.add(Hit(hit.pattern, begin, end))
    return sorted(hits, key=lambda h: (h.pattern, h.start, -h.end))


@cache
def _may_be_coded() -> PatternSet:
    return PatternSet([CODED], "coded")


def _views(text: str) -> Iterator[tuple[str, Callable[[int, int], tuple[int, int]]]]:
    """What the text is under its disguises, one after the other: each with the places of its parts in the text."""
    layers: list[Reading] = [VisibleText(text)]
    if layers[0].changed:
        yield layers[0].text, layers[0].place
    for _ in range(_LAYERS):
        if not _may_be_coded().matching(layers[-1].text):
            return
        layers.append(Reading(layers[-1].text, decoded(layers[-1].text)))
        if not layers[-1].changed:
            return
        yield layers[-1].text, partial(_place, tuple(reversed(layers)))


def _place(layers: Sequence["Reading"], start: int, end: int) -> tuple[int, int]:
    for layer in layers:
        start, end = layer.place(start, end)
    return start, end


class Reading:
    """`text` is `original` with parts replaced; `place` gives offsets in the original.

    replacements: (start, end, new text) in order.
    """

    def __init__(self, original: str, replacements: Iterable[tuple[int, int, str]]) -> None:
        self.original = original
        # Where a piece (a run of plain text, or one replacement) begins: in `text`, and in the original.
        self._starts: list[int] = []
        self._pieces: list[tuple[int, int, bool]] = []
        self.text = self._read(replacements)

    @property
    def changed(self) -> bool:
        """Whether the text isn't what it seems."""
        return bool(self._pieces)

    def _read(self, replacements: Iterable[tuple[int, int, str]]) -> str:
        parts: list[str] = []
        at = done = 0
        for start, end, new in replacements:
            for low, high, part in ((done, start, self.original[done:start]), (start, end, new)):
                if part:
                    self._starts.append(at)
                    self._pieces.append((low, high, low == done and high == start))
                    parts.append(part)
                    at += len(part)
            done = end
        if done:
            self._starts.append(at)
            self._pieces.append((done, len(self.original), True))
        return "".join([*parts, self.original[done:]])

    def place(self, start: int, end: int) -> tuple[int, int]:
        """Where text[start:end] (not empty) stands in the original, hidden characters inside it included."""
        if not self.changed:
            return start, end
        return self._original(start)[0], self._original(end - 1)[1]

    def _original(self, at: int) -> tuple[int, int]:
        """(start, end) in the original of the character text[at]."""
        number = bisect_right(self._starts, at) - 1
        start, end, plain = self._pieces[number]
        if not plain:
            return start, end
        place = start + at - self._starts[number]
        return place, place + 1


class VisibleText(Reading):
    """What a text looks like."""

    def __init__(self, original: str) -> None:
        super().__init__(original, () if original.isascii() else _replaced(original))


def _replaced(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, replacement) of everything in the text that isn't what it seems, in order."""
    for run in _RUN.finditer(text):
        for part in _PART.finditer(text, *run.span()):
            start, end = part.span()
            new = _replacement(part.group(), text[start - 1 : start] if start else "", text[end : end + 1])
            if new is not None:
                yield start, end, new


def _replacement(part: str, before: str, after: str) -> str | None:
    """What a match of _PART between these characters looks like; None: like itself."""
    first = part[0]
    if first in _IMITATIONS:
        near = _NEAR.match(before) or _NEAR.match(after)
        return "".join(_IMITATIONS[c] for c in part) if near else None
    if _IS_MARK.match(first):
        return "" if before.isascii() and before.isalpha() else None
    if first in _SMALL:
        return _SMALL[first]
    if first.isspace() or first == "\u2800":
        return "\n" if first in _BREAKS else " "
    if unicodedata.category(first) in ("Cf", "Mn", "Lo"):
        return ""
    return unicodedata.normalize("NFKC", part)
