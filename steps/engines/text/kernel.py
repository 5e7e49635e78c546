"""The compiled part of reading text: words, shingles and digests over UTF-8 buffers.

The definition is `normalise.words` and `normalise.squeezed`; the tests compare with them. Self-contained, because
numba's cache on disk notices changes in this file only.
"""

import numpy as np
from numba import njit

from steps.engines.text.codepoints import ALONE, CODE_POINTS, COMPLEX, HIDDEN, SPACE, SYMBOL, TAGS, WORD

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
# Closing punctuation of an answer that makes no difference: . ! ? (a wide ellipsis is three dots in normal form).
_DOT, _BANG, _QUESTION = 0x2E, 0x21, 0x3F


@njit(inline="always")
def _mixed(x):  # type: ignore[no-untyped-def]
    x = (x ^ (x >> _30)) * _MIX_1
    x = (x ^ (x >> _27)) * _MIX_2
    return x ^ (x >> _31)


@njit(inline="always")
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


@njit(inline="always")
def _kind(point, classes):  # type: ignore[no-untyped-def]
    if point < CODE_POINTS:
        return classes[point]
    return np.uint8(HIDDEN) if TAGS[0] <= point <= TAGS[1] else np.uint8(SYMBOL)


@njit(inline="always")
def _folded(h, packed):  # type: ignore[no-untyped-def]
    h = (h ^ packed) * _BASE
    return h ^ (h >> _U32)


@njit(inline="always")
def _finished(h, packed, size, mark):  # type: ignore[no-untyped-def]
    """Hash of a word whose last `size % 8` bytes are in `packed`; the mark tells segments apart."""
    return _mixed(_folded(h, packed) + np.uint64(size) * _FNV + mark)


@njit(inline="always")
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
def _segment_words(data, i, end, mark, classes, lower, ascii_words, symbols, out, n):  # type: ignore[no-untyped-def]
    """Words of data[i:end] to out[n:]; returns the new n, or -1 where the tables can't decide.

    A word's hash is taken over eight bytes at a time: ASCII as it is, other code points as three bytes, the first of
    which no ASCII letter equals.
    """
    room = out.shape[0]
    h, packed, size = _SEED, np.uint64(0), 0
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
        if size:
            if n < room:
                out[n] = _finished(h, packed, size, mark)
            n += 1
            h, packed, size = _SEED, np.uint64(0), 0
        if kind == ALONE or (symbols and kind == SYMBOL):
            if n < room:
                out[n] = _alone(lower[point] if point < CODE_POINTS else point, mark)
            n += 1
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
def word_hashes(data, starts, ends, marks, offsets, classes, lower, symbols, out, out_offsets, digests, complexes):  # type: ignore[no-untyped-def]
    """Hash of each word of each row, in order, into `out` (uint64); row i's lie at out_offsets[i]:out_offsets[i + 1].

    Row i has the segments offsets[i]:offsets[i + 1], bytes starts[s]:ends[s] of `data`; a segment's mark enters the
    hashes of its words. `digests` (n, 2) gets 128 bits over the row's words; complexes[i] is set, and the row left
    without words, where the tables can't decide.

    Returns the number of words; when it is larger than len(out), nothing of the result may be used.
    """
    ascii_words = _ascii_words(classes, lower)
    n = 0
    out_offsets[0] = 0
    for row in range(offsets.shape[0] - 1):
        first, after = n, n
        for s in range(offsets[row], offsets[row + 1]):
            mark = np.uint64(marks[s]) * _MIX_1
            after = _segment_words(data, starts[s], ends[s], mark, classes, lower, ascii_words, symbols, out, n)
            if after < 0:
                break
            n = after
        complexes[row] = after < 0
        if after < 0:
            n = first
        elif n == first:
            for s in range(offsets[row], offsets[row + 1]):
                mark = np.uint64(marks[s]) * _MIX_1
                n = _visible_characters(data, starts[s], ends[s], mark, classes, lower, out, n)
        out_offsets[row + 1] = n
        if n <= out.shape[0]:
            low, high = _SEED, _BASE
            for k in range(first, n):
                low = (low ^ out[k]) * _MIX_1
                low ^= low >> _29
                high = (high + out[k]) * _MIX_2
                high ^= high >> _31
            digests[row, 0] = _mixed(low ^ np.uint64(n - first))
            digests[row, 1] = _mixed(high)
    return n


@njit(nogil=True, cache=True)
def text_digests(data, starts, ends, offsets, classes, lower, strip, digests, empty, complexes):  # type: ignore[no-untyped-def]
    """128-bit digest per row of its squeezed text: normal form, runs of white space as one space, none at the ends.

    With `strip`, closing . ! ? and spaces don't count. `empty`: rows without any byte.
    """
    for row in range(offsets.shape[0] - 1):
        low, high, count = _SEED, _BASE, np.uint64(0)
        kept_low, kept_high, kept_count = low, high, count
        space, hard, size = False, False, 0
        for s in range(offsets[row], offsets[row + 1]):
            i, end = starts[s], ends[s]
            size += end - i
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
                    if not strip or (p not in (_DOT, _BANG, _QUESTION)):
                        kept_low, kept_high, kept_count = low, high, count
            space = bool(count > _0)
        complexes[row] = hard
        empty[row] = size == 0
        digests[row, 0] = _mixed(kept_low ^ kept_count)
        digests[row, 1] = _mixed(kept_high)


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
