"""Unicode tables for the compiled tokeniser: what `normal_form` and `words` do to one code point.

A code point whose treatment depends on its neighbours (combining marks, Hangul jamo), or that becomes several, is
`COMPLEX`: a text that holds one is normalised by `normal_form` first, and then read with the tables for normal text.
`python -m steps.engines.text.codepoints` computes the tables anew and writes codepoints.npz, which saves 0.4 s at
every start.
"""

import functools
import unicodedata
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from steps.engines.text.normalise import INVISIBLE, SPACELESS, WORD_CHARACTER, normal_form

# Planes 0 and 1, and the ideographs of planes 2 and 3 as far as Unicode 15 fills them; beyond lie no letters, but
# tags and variation selectors, all of them invisible.
CODE_POINTS = 0x323B0
TAGS = INVISIBLE[-1]
SPACE, SYMBOL, WORD, ALONE, HIDDEN, COMPLEX = range(6)

_FILE = Path(__file__).with_name("codepoints.npz")
_SURROGATES = range(0xD800, 0xE000)


class Tables(NamedTuple):
    """classes: uint8, shape (CODE_POINTS,). lower: the normal form's code point, int32, shape (CODE_POINTS,).

    ALONE: a letter of a script without spaces, a word by itself. HIDDEN: invisible, no part of anything.
    """

    classes: npt.NDArray[np.uint8]
    lower: npt.NDArray[np.int32]


@functools.cache
def raw_tables() -> Tables:
    """Tables for any text; COMPLEX marks what they can't decide."""
    with np.load(_FILE, allow_pickle=False) as stored:
        return Tables(stored["raw"], np.arange(CODE_POINTS, dtype=np.int32) + stored["shift"])


@functools.cache
def normal_tables() -> Tables:
    """Tables for text that is in normal form already."""
    with np.load(_FILE, allow_pickle=False) as stored:
        return Tables(stored["normal"], np.arange(CODE_POINTS, dtype=np.int32))


def computed_tables() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """Classes in normal text, classes in raw text, and distance to the lower-case form (0: none of one character).

    From `normal_form` and the word patterns; shape (CODE_POINTS,) each.
    """
    everything = "".join(chr(c) if c not in _SURROGATES else "\ufffd" for c in range(CODE_POINTS))
    normal = np.full(CODE_POINTS, SYMBOL, np.uint8)
    normal[[m.start() for m in WORD_CHARACTER.finditer(everything)]] = WORD
    alone = [m.start() for m in SPACELESS.finditer(everything) if normal[m.start()] == WORD]
    normal[alone] = ALONE
    normal[[i for i, c in enumerate(everything) if c.isspace()]] = SPACE

    forms = [normal_form(c) for c in everything]
    simple = np.array([len(f) == 1 for f in forms])
    lower = np.array([ord(f) if len(f) == 1 else i for i, f in enumerate(forms)], np.int32)
    joining = _joining()
    simple &= ~np.isin(np.arange(CODE_POINTS), joining) & ~np.isin(lower, joining)
    raw = np.where(simple, normal[lower], COMPLEX).astype(np.uint8)
    for first, last in INVISIBLE:
        raw[first : last + 1] = HIDDEN
    return normal, raw, (lower - np.arange(CODE_POINTS)).astype(np.int32)


def _joining() -> npt.NDArray[np.int64]:
    """Code points that change with what stands before them: marks, and second halves of canonical pairs."""
    marks = [c for c in range(CODE_POINTS) if unicodedata.combining(chr(c))]
    pairs = (unicodedata.decomposition(chr(c)).split() for c in range(CODE_POINTS))
    seconds = [int(p[1], 16) for p in pairs if len(p) == 2 and not p[0].startswith("<")]
    jamo = [*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)]
    return np.unique(np.array([*marks, *seconds, *jamo], np.int64))


def _write() -> None:
    normal, raw, shift = computed_tables()
    np.savez_compressed(_FILE, normal=normal, raw=raw, shift=shift)


if __name__ == "__main__":
    _write()
