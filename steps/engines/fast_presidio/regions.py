"""The parts of a long text in which a pattern can match at all, put together into a short one."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import re2

from steps.engines.fast_presidio.prefilter import options
from steps.engines.fast_presidio.relax import Relaxed

# Chosen: a look-around that reaches further makes parts about as long as a text.
_MOST_REACH = 24
# Stand between the parts and for a text's edges: no word characters, as the edges aren't.
_SEPARATORS = ("\0", " ")


class Piece(NamedTuple):
    """text[start:end] stands in the shortened text from `at` on."""

    start: int
    end: int
    at: int


class Regions:
    """Maximal runs of the characters of some patterns that hold a match of a weakened pattern.

    A match consists of these characters, so it lies in one run; what decides about it lies in the run or within
    `reach` of it, and is kept with it.
    """

    def __init__(self, patterns: Sequence[Relaxed], separator: str) -> None:
        self._separator = separator
        characters = "|".join(sorted(set[str]().union(*(p.characters for p in patterns))))
        cores = "|".join(dict.fromkeys(p.core for p in patterns))
        self._finder = re2.compile(f"(?:{characters})*(?:{cores})(?:{characters})*", options=options())
        self._reach = max(p.reach or 0 for p in patterns)

    def shortened(self, text: str) -> tuple[str, list[Piece]]:
        """The runs and what is near them, and where each stands; `text` has no lone surrogates."""
        texts: list[str] = []
        pieces: list[Piece] = []
        length = 0
        for match in self._finder.finditer(text):
            start, end = match.span()
            near = text[max(0, start - self._reach) : end + self._reach]
            pieces.append(Piece(start, end, length + 1 + min(self._reach, start)))
            texts.append(near)
            length += 1 + len(near)
        return "".join([self._separator + t for t in texts] + [self._separator]), pieces


def position(pieces: Sequence[Piece], start: int, end: int) -> tuple[int, int] | None:
    """Where shortened[start:end] stands in the text; None: not in a run, so it only seems to be a match."""
    number = bisect_right(pieces, start, key=lambda p: p.at) - 1
    if number < 0:
        return None
    piece = pieces[number]
    shift = piece.start - piece.at
    return (start + shift, end + shift) if end + shift <= piece.end else None


def regions(patterns: Sequence[Relaxed | None]) -> Regions | None:
    """None: a pattern can't be read, looks too far around itself, or matches whatever could separate two parts."""
    readable = [p for p in patterns if p is not None and p.reach is not None and p.reach <= _MOST_REACH]
    if not readable or len(readable) < len(patterns):
        return None
    characters = re2.compile("|".join(sorted(set[str]().union(*(p.characters for p in readable)))), options=options())
    # To a look-around, a space may be something else than a text's edge; NUL never is (`relax` sees to that).
    usable = _SEPARATORS[:1] if any(p.looks for p in readable) else _SEPARATORS
    separator = next((s for s in usable if not characters.fullmatch(s)), None)
    return Regions(readable, separator) if separator else None
