"""The compiled part of reading text: words, shingles and digests over UTF-8 buffers.

The definition is `normalise.words`, `normalise.telling_words` and `normalise.squeezed`; the tests compare with them.
Self-contained, because numba's cache on disk notices changes in this file only.
"""

import numpy as np

from steps.engines.imports.compiler import njit
from steps.engines.text.codepoints import ALONE, CODE_POINTS, COMPLEX, HIDDEN, SPACE, SYMBOL, TAGS, WORD
from steps.engines.text.normalise import DASHES, MOST_LEVELS, QUOTES, STOPS, TAB

# FNV-1a's prime for 64 bits; an odd multiplier (2**64 / golden ratio); the finalizer of SplitMix64 (Steele, Lea,
# Flood 2014, "Fast splittable pseudorandom number generators", fig. 17).
_FNV = np.uint64(0x100000001B3)
_BASE = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_SEED = np.uint64(0xCBF29CE484222325)
_U32 = np.uint64(32)
_ONE = np.uint64(1)
_0, _8, _16, _128, _255 = np.uint64(0), np.uint64(8), np.uint64(16), np.uint64(128), np.uint64(255)
_30, _27, _31, _29 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(29)
# What a row's tokens are: its words; words and the symbols that say something; words, all symbols and indentation;
# the last where the row is code, else the first.
WORDS, TELLING, SYMBOLS, CODE = range(4)
# No code points, so that nothing in a text has their hashes: steps of the indentation.
_DEEPER, _SHALLOWER = np.int32(0x110000), np.int32(0x110001)
_COLON, _NEWLINE, _RETURN, _TAB, _BLANK = 0x3A, 0x0A, 0x0D, 0x09, np.int32(0x20)
_HYPHEN, _STAR, _EQUALS, _NUMBER_SIGN, _GREATER, _TICK = 0x2D, 0x2A, 0x3D, 0x23, 0x3E, 0x60
_OPENING, _CLOSING = (0x28, 0x5B), (0x29, 0x5D)


def _codes(members: str) -> tuple[int, ...]:
    """The members of a character class without escapes; a hyphen stands between the ends of a range."""
    codes: list[int] = []
    for at, c in enumerate(members):
        if c == "-":
            codes += range(ord(members[at - 1]) + 1, ord(members[at + 1]))
        else:
            codes.append(ord(c))
    return tuple(codes)


_QUOTE, _STOP, _DASH = _codes(QUOTES), _codes(STOPS), _codes(DASHES)
# Symbols that are frequent in code and formulas, and rare in prose, Markdown and addresses of pages.
_OF_CODE = np.zeros(256, np.uint8)
_OF_CODE[[ord(c) for c in "{}[];=<>+&%^~\\"]] = 1
# A text is code from so many of these on (a row of equal ones counts once), of double colons and of brackets right
# behind a word (twice: they are closed again), and such a share of its visible bytes; or, as a formula, from a larger
# share on. Chosen among what was measured (docs/stages/dedup.md).
_LEAST_OPERATORS = 3
_LEAST_SHARE = 0.04
_FORMULA_SHARE = 0.2
# Python has few of them where it explains much; no line of prose begins so.
_DEFINITION = np.array([ord(c) for c in "def "], np.uint8)
# What a pass over a segment leaves in `seen`: a digest of the row's symbols and their places, symbols of code, visible
# bytes, and whether a line begins as one of code does.
_SIGNS, _OPERATORS, _VISIBLE, _CODED = range(4)


@njit(forceinline=True)
def _mixed(x):  # type: ignore[no-untyped-def]
    x = (x ^ (x >> _30)) * _MIX_1
    x = (x ^ (x >> _27)) * _MIX_2
    return x ^ (x >> _31)


@njit(forceinline=True)
def _decoded(data, i, end):  # type: ignore[no-untyped-def]
    """Code point at byte i, and the byte after it; a broken sequence gives U+FFFD."""
    b = np.int32(data[i])
    if b < 0x80:
        return b, i + 1
    if b >= 0xF0 and i + 3 < end:
        point = (b & 7) << 18 | (np.int32(data[i + 1]) & 63) << 12
        return point | (np.int32(data[i + 2]) & 63) << 6 | (np.int32(data[i + 3]) & 63), i + 4
    if 0xE0 <= b < 0xF0 and i + 2 < end:
        return (b & 15) << 12 | (np.int32(data[i + 1]) & 63) << 6 | (np.int32(data[i + 2]) & 63), i + 3
    if 0xC0 <= b < 0xE0 and i + 1 < end:
        return (b & 31) << 6 | (np.int32(data[i + 1]) & 63), i + 2
    return np.int32(0xFFFD), i + 1


@njit(forceinline=True)
def _kind(point, classes):  # type: ignore[no-untyped-def]
    if point < CODE_POINTS:
        return classes[point]
    return np.uint8(HIDDEN) if TAGS[0] <= point <= TAGS[1] else np.uint8(SYMBOL)


@njit(forceinline=True)
def _folded(h, packed):  # type: ignore[no-untyped-def]
    h = (h ^ packed) * _BASE
    return h ^ (h >> _U32)


@njit(forceinline=True)
def _finished(h, packed, size, mark):  # type: ignore[no-untyped-def]
    """Hash of a word whose last `size % 8` bytes are in `packed`; the mark tells segments apart."""
    return _mixed(_folded(h, packed) + np.uint64(size) * _FNV + mark)


@njit(forceinline=True)
def _alone(point, mark):  # type: ignore[no-untyped-def]
    """Hash of a word of one code point that is no part of a longer one; never equal to that of a longer word."""
    return _mixed(((_SEED ^ np.uint64(point)) * _FNV) + mark)


@njit(nogil=True, cache=True)
def _ascii_words(classes, lower):  # type: ignore[no-untyped-def]
    """Lower-case form of each byte that is a letter, digit or _ by itself, else 0: most text needs nothing more."""
    out = np.zeros(256, np.uint8)
    for b in range(128):
        if classes[b] == WORD:
            out[b] = lower[b]
    return out


@njit(nogil=True, cache=True)
def _segment_words(data, i, end, mark, classes, lower, ascii_words, out, n, first, seen):  # type: ignore[no-untyped-def]
    """Words of data[i:end] to out[n:]; returns the new n, or -1 where the tables can't decide.

    A word's hash is taken over eight bytes at a time: ASCII as it is, other code points as three bytes, the first of
    which no ASCII letter equals. `seen`: what the symbols between the words say, beside those of segments before.
    """
    room = out.shape[0]
    h, packed, size = _SEED, np.uint64(0), 0
    signs, operators, blank = seen[_SIGNS], np.uint64(0), 0
    begin, last = i, np.int32(-1)
    coded = _defines(data, i, end)
    while i < end:
        c = ascii_words[data[i]]
        while c:
            packed = packed << _8 | np.uint64(c)
            size += 1
            if size & 7 == 0:
                h, packed = _folded(h, packed), np.uint64(0)
            i += 1
            if i == end:
                break
            c = ascii_words[data[i]]
        if i == end:
            break
        b = data[i]
        if b < 0x80:
            point, kind = np.int32(b), classes[b]
            i += 1
        else:
            point, i = _decoded(data, i, end)
            kind = _kind(point, classes)
            if kind == WORD:
                p = np.uint64(lower[point])
                for shift in (_16, _8, _0):
                    if p < _128 and shift > _0:
                        continue
                    packed = packed << _8 | ((p >> shift) & _255)
                    size += 1
                    if size & 7 == 0:
                        h, packed = _folded(h, packed), np.uint64(0)
                continue
            if kind == HIDDEN:
                continue
            if kind == COMPLEX:
                return -1
        called = False
        if size:
            if n < room:
                out[n] = _finished(h, packed, size, mark)
            n += 1
            h, packed, size = _SEED, np.uint64(0), 0
            last = np.int32(-1)
            called = point == _OPENING[0]
        if kind == SPACE:
            blank += 1
            coded = coded or (point == _NEWLINE and _defines(data, i, end))
            continue
        if kind == ALONE:
            if n < room:
                out[n] = _alone(lower[point], mark)
            n += 1
            last = np.int32(-1)
            continue
        p = np.uint64(lower[point] if point < CODE_POINTS else point)
        signs = (signs ^ (p | np.uint64(n - first) << _U32)) * _MIX_1
        if p < _128:
            operators += np.uint64((_OF_CODE[p] and point != last) or (p == _COLON and point == last)) + np.uint64(
                2 * called
            )
            coded = coded or (p == _TICK and i + 1 < end and data[i] == _TICK and data[i + 1] == _TICK)
        last = point
    if size:
        if n < room:
            out[n] = _finished(h, packed, size, mark)
        n += 1
    seen[_SIGNS], seen[_OPERATORS], seen[_CODED] = signs, operators, np.uint64(coded)
    seen[_VISIBLE] = np.uint64(end - begin - blank)
    return n


@njit(forceinline=True)
def _defines(data, i, end):  # type: ignore[no-untyped-def]
    """Whether a line that begins at byte i begins with a Python function."""
    while i < end and (data[i] == _BLANK or data[i] == _TAB):
        i += 1
    k = 0
    while k < len(_DEFINITION) and i + k < end and data[i + k] == _DEFINITION[k]:
        k += 1
    return k == len(_DEFINITION)


@njit(forceinline=True)
def _is_code(seen):  # type: ignore[no-untyped-def]
    """Whether the segment is code or a formula, or quotes code."""
    share = np.float64(seen[_OPERATORS]) / max(np.float64(seen[_VISIBLE]), 1.0)
    return seen[_CODED] or share >= _FORMULA_SHARE or (seen[_OPERATORS] >= _LEAST_OPERATORS and share >= _LEAST_SHARE)


@njit(nogil=True, cache=True)
def _next_visible(data, i, end, classes, lower, over_stars):  # type: ignore[no-untyped-def]
    """Normal form and class of the code point at byte i, hidden ones left out; a space at the end."""
    while i < end:
        point, i = _decoded(data, i, end)
        kind = _kind(point, classes)
        if kind == HIDDEN or (over_stars and point == _STAR):
            continue
        return (lower[point] if point < CODE_POINTS else point), kind
    return _BLANK, np.uint8(SPACE)


@njit(forceinline=True)
def _is_digit(p):  # type: ignore[no-untyped-def]
    return 0x30 <= p <= 0x39


@njit(forceinline=True)
def _multiplies(left, left_kind, right, right_kind, visible):  # type: ignore[no-untyped-def]
    """Whether asterisks between these two stand between two values; `visible`: the line doesn't begin with them."""
    if SPACE in (left_kind, right_kind):
        return bool(visible and left_kind == right_kind)
    after_value = left_kind in (WORD, ALONE) or left in _CLOSING
    return bool(after_value and (right_kind in (WORD, ALONE) or right in _OPENING))


@njit(forceinline=True)
def _stepped(levels, depth, width, mark, out, n):  # type: ignore[no-untyped-def]
    """The steps to a line of this width from the one before, whose blocks begin at levels[:depth], to out[n:].

    Returns (n, depth).
    """
    while depth and width < levels[depth - 1]:
        depth -= 1
        if n < out.shape[0]:
            out[n] = _alone(_SHALLOWER, mark)
        n += 1
    if depth < MOST_LEVELS and (depth == 0 or width > levels[depth - 1]):
        if depth:
            if n < out.shape[0]:
                out[n] = _alone(_DEEPER, mark)
            n += 1
        levels[depth] = width
        depth += 1
    return n, depth


@njit(nogil=True, cache=True)
def _segment_tokens(data, i, end, mark, classes, lower, telling, levels, out, n):  # type: ignore[no-untyped-def]
    """Words and symbols of data[i:end] to out[n:]: `telling` ones, or all with the steps of the indentation.

    Returns the new n, or -1 where the tables can't decide. `levels`: room for MOST_LEVELS numbers.
    """
    room = out.shape[0]
    h, packed, size = _SEED, np.uint64(0), 0
    depth, width = 0, np.int64(0)
    # Of the line: whether anything visible, and anything but signs of headings and quoted lines, stands in it so far.
    visible = said = False
    left, left_kind, last, stars_tell = _BLANK, np.uint8(SPACE), _BLANK, False
    while i < end:
        point, i = _decoded(data, i, end)
        kind = _kind(point, classes)
        if kind == HIDDEN:
            continue
        if kind == COMPLEX:
            return -1
        p = lower[point] if point < CODE_POINTS else point
        if kind == WORD and (visible or telling):
            visible = said = True
        elif kind != SPACE and not visible and not telling:
            visible = True
            n, depth = _stepped(levels, depth, width, mark, out, n)
        if kind == WORD:
            q = np.uint64(p)
            for shift in (_16, _8, _0):
                if q < _128 and shift > _0:
                    continue
                packed = packed << _8 | ((q >> shift) & _255)
                size += 1
                if size & 7 == 0:
                    h, packed = _folded(h, packed), np.uint64(0)
            left, left_kind, last = p, kind, p
            continue
        if size:
            if n < room:
                out[n] = _finished(h, packed, size, mark)
            n += 1
            h, packed, size = _SEED, np.uint64(0), 0
        if kind == SPACE:
            if p in (_NEWLINE, _RETURN):
                width, visible, said = np.int64(0), False, False
            elif not visible:
                width = (width // TAB + 1) * TAB if p == _TAB else width + 1
            left, left_kind, last = p, kind, p
            continue
        tells = True
        if telling and kind == SYMBOL:
            if p in _DASH:
                p = np.int32(_HYPHEN)
            if p in _QUOTE:
                tells = False
            elif p == _HYPHEN or p in _STOP:
                right, _ = _next_visible(data, i, end, classes, lower, False)
                letter = last != _STAR and left_kind in (WORD, ALONE) and not _is_digit(left)
                tells = right == _EQUALS or (_is_digit(right) and not letter)
            elif p == _STAR:
                if last != _STAR:
                    right, right_kind = _next_visible(data, i, end, classes, lower, True)
                    stars_tell = _multiplies(left, left_kind, right, right_kind, visible)
                tells = stars_tell
            elif p in (_NUMBER_SIGN, _GREATER):
                tells = said
        visible = True
        said = said or p not in (_NUMBER_SIGN, _GREATER)
        if tells:
            if n < room:
                out[n] = _alone(p, mark)
            n += 1
        last = p
        if p != _STAR:
            left, left_kind = p, kind
    if size:
        if n < room:
            out[n] = _finished(h, packed, size, mark)
        n += 1
    return n


@njit(nogil=True, cache=True)
def _visible_characters(data, i, end, mark, classes, lower, out, n):  # type: ignore[no-untyped-def]
    """Each visible character of data[i:end] as a word of its own, to out[n:]; returns the new n."""
    while i < end:
        point, i = _decoded(data, i, end)
        kind = _kind(point, classes)
        if kind not in (SPACE, HIDDEN):
            if n < out.shape[0]:
                out[n] = _alone(lower[point] if point < CODE_POINTS else point, mark)
            n += 1
    return n


@njit(nogil=True, cache=True)
def _row_tokens(data, starts, ends, marks, a, cut, b, classes, lower, ascii_words, mode, levels, out, n, seen):  # type: ignore[no-untyped-def]
    """Tokens of segments a to b - 1 to out[n:]. Returns the new n (-1: the tables can't decide), how many stand before
    segment `cut`, and whether a segment is code.
    """
    first, lead, code = n, 0, False
    for s in range(a, b):
        if s == cut:
            lead = n - first
        mark = np.uint64(marks[s]) * _MIX_1
        if mode == WORDS:
            n = _segment_words(data, starts[s], ends[s], mark, classes, lower, ascii_words, out, n, first, seen)
            code = code or _is_code(seen)
        else:
            telling = mode == TELLING
            n = _segment_tokens(data, starts[s], ends[s], mark, classes, lower, telling, levels, out, n)
        if n < 0:
            return -1, 0, False
    if n == first:
        for s in range(a, b):
            mark = np.uint64(marks[s]) * _MIX_1
            n = _visible_characters(data, starts[s], ends[s], mark, classes, lower, out, n)
        return n, 0, code
    return n, (n - first if cut >= b else lead), code


@njit(forceinline=True)
def _digest(out, first, n):  # type: ignore[no-untyped-def]
    """128 bits over out[first:n]."""
    low, high = _SEED, _BASE
    for k in range(first, n):
        low = (low ^ out[k]) * _MIX_1
        low ^= low >> _29
        high = (high + out[k]) * _MIX_2
        high ^= high >> _31
    return _mixed(low ^ np.uint64(n - first)), _mixed(high)


@njit(nogil=True, cache=True)
def word_hashes(  # type: ignore[no-untyped-def]
    data,
    starts,
    ends,
    marks,
    offsets,
    asked,
    modes,
    classes,
    lower,
    out,
    out_offsets,
    digests,
    plain,
    signs,
    leads,
    symbolic,
    complexes,
):
    """Hash of each token of each row, in order, into `out` (uint64); row i's lie at out_offsets[i]:out_offsets[i + 1].

    Row i has the segments offsets[i]:offsets[i + 1], bytes starts[s]:ends[s] of `data`; a segment's mark enters the
    hashes of its words. modes[i]: WORDS, TELLING, SYMBOLS or CODE. Of each row: `digests` (n, 2), 128 bits over its
    tokens; `plain`, 64 bits over its words alone, and `signs`, over the symbols between them (both but for TELLING);
    `leads`, how many tokens stand before its segment number asked[i]; `symbolic`, whether symbols are tokens because of
    SYMBOLS or CODE. complexes[i] is set, and the row left without words, where the tables can't decide.

    Returns the number of places that were needed; when it is larger than len(out), nothing of the result may be used.
    """
    ascii_words = _ascii_words(classes, lower)
    levels, seen = np.empty(MOST_LEVELS, np.int64), np.zeros(4, np.uint64)
    room = out.shape[0]
    n = most = 0
    out_offsets[0] = 0
    for row in range(offsets.shape[0] - 1):
        a, b = offsets[row], offsets[row + 1]
        cut, mode, first = a + asked[row], modes[row], n
        seen[_SIGNS] = _SEED
        begun = WORDS if mode != TELLING else TELLING
        n, lead, code = _row_tokens(
            data, starts, ends, marks, a, cut, b, classes, lower, ascii_words, begun, levels, out, first, seen
        )
        plain[row], signs[row] = np.uint64(0), seen[_SIGNS]
        symbolic[row] = n >= 0 and (mode == SYMBOLS or (mode == CODE and code))
        most = max(most, n)
        if symbolic[row]:
            if n <= room:
                plain[row] = _digest(out, first, n)[0]
            n, lead, _ = _row_tokens(
                data, starts, ends, marks, a, cut, b, classes, lower, ascii_words, SYMBOLS, levels, out, first, seen
            )
            most = max(most, n)
        complexes[row] = n < 0
        n, leads[row] = max(n, first), lead
        out_offsets[row + 1] = n
        if n <= room:
            low, high = _digest(out, first, n)
            digests[row, 0], digests[row, 1] = low, high
            if not symbolic[row]:
                plain[row] = low
    return most


@njit(nogil=True, cache=True)
def text_digests(data, starts, ends, offsets, classes, lower, digests, complexes):  # type: ignore[no-untyped-def]
    """128-bit digest per row of its squeezed text: normal form, runs of white space as one space, none at the ends."""
    for row in range(offsets.shape[0] - 1):
        low, high, count = _SEED, _BASE, np.uint64(0)
        space, hard = False, False
        for s in range(offsets[row], offsets[row + 1]):
            i, end = starts[s], ends[s]
            while i < end and not hard:
                point, i = _decoded(data, i, end)
                kind = _kind(point, classes)
                if kind == HIDDEN:
                    continue
                if kind == COMPLEX:
                    hard = True
                elif kind == SPACE:
                    space = bool(count > _0)
                else:
                    p = np.uint64(lower[point] if point < CODE_POINTS else point)
                    if space:
                        low, high, count = (low ^ _U32) * _MIX_1, (high + _U32) * _MIX_2, count + _ONE
                        space = False
                    low = (low ^ p) * _MIX_1
                    low ^= low >> _29
                    high = (high + p) * _MIX_2
                    high ^= high >> _31
                    count += _ONE
            space = bool(count > _0)
        complexes[row] = hard
        digests[row, 0] = _mixed(low ^ count)
        digests[row, 1] = _mixed(high)


@njit(nogil=True, cache=True)
def shingle_hashes(words, offsets, n, salts, out):  # type: ignore[no-untyped-def]
    """Hash of every run of n[i] words of row i into `out` (uint64), in order, repeats included; returns new offsets.

    A row of 1 to n - 1 words has one shingle, of all its words; an empty one has none. The number of words and the
    row's salt enter, so that a short text never equals a part of a longer one, nor a row of another kind.
    """
    result = np.zeros(offsets.shape[0], np.int64)
    m = 0
    for row in range(offsets.shape[0] - 1):
        first, last = offsets[row], offsets[row + 1]
        size = last - first
        if size > 0:
            k = min(size, np.int64(n[row]))
            power = _ONE
            for _ in range(k):
                power *= _BASE
            tail = _mixed(np.uint64(k) + (np.uint64(salts[row]) << _U32))
            h = np.uint64(0)
            for i in range(first, last):
                h = h * _BASE + words[i]
                if i - first >= k:
                    h -= words[i - k] * power
                if i - first >= k - 1:
                    out[m] = _mixed(h ^ tail)
                    m += 1
        result[row + 1] = m
    return result
