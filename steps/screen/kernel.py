"""The compiled part of the repetition rules: which texts of a column may exceed a bound.

The definition is `repetition.first_excess`, which then looks at the texts that are named; the tests compare the two.
Words and lines are compared by 64-bit hashes, so that a collision can name a text too many, never hide one.
Self-contained, because numba's cache on disk notices changes in this file only.
"""

import numpy as np

from steps.engines.imports.compiler import njit

# FNV-1a's offset and prime for 64 bits; an odd multiplier (2**64 / golden ratio).
_SEED, _FNV = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_BASE = np.uint64(0x9E3779B97F4A7C15)
_U32 = np.uint64(32)
_LOOP_NGRAM = 5
# White space between two words: none that ends a line, one that does, one that ends a paragraph.
_LINE, _PARAGRAPH = 1, 2


@njit(inline="always")
def _space(data, i, end):  # type: ignore[no-untyped-def]
    """Bytes of the white space (as in `str.split`) at byte i; 0 for none."""
    b = data[i]
    if b <= 32:
        return np.int64(9 <= b <= 13 or b >= 28)
    return _wide_space(data, i, end) if 0xC2 <= b <= 0xE3 else np.int64(0)


@njit(inline="always")
def _wide_space(data, i, end):  # type: ignore[no-untyped-def]
    """U+0085 and U+00A0 (two bytes); U+1680, U+2000 to 200A, U+2028, 2029, 202F, 205F and U+3000 (three)."""
    if data[i] == 0xC2:
        return np.int64(2 if i + 1 < end and data[i + 1] in (0x85, 0xA0) else 0)
    if i + 2 >= end:
        return np.int64(0)
    code = np.int64(data[i]) << 16 | np.int64(data[i + 1]) << 8 | np.int64(data[i + 2])
    single = code in (0xE19A80, 0xE280A8, 0xE280A9, 0xE280AF, 0xE2819F, 0xE38080)
    return np.int64(3 if single or 0xE28080 <= code <= 0xE2808A else 0)


@njit(inline="always")
def _ends_line(data, i, size):  # type: ignore[no-untyped-def]
    """Whether the white space at byte i ends a line (as in `str.splitlines`)."""
    if size == 1:
        return 10 <= data[i] <= 13 or 28 <= data[i] <= 30
    return data[i + size - 1] in (0xA8, 0xA9) if size == 3 else data[i + 1] == 0x85


@njit(nogil=True, cache=True)
def _words(data, i, end, hashes, starts, ends, gaps):  # type: ignore[no-untyped-def]
    """Hash, first character, character after the last, and gap before each word of data[i:end]; their number."""
    n = 0
    at = 0
    breaks = newlines = 0
    inside = False
    h = _SEED
    while i < end:
        size = _space(data, i, end)
        if size:
            if inside:
                hashes[n], ends[n], inside = h, at, False
                n += 1
            breaks += _ends_line(data, i, size)
            newlines += data[i] == 10
            i += size
            at += 1
            continue
        if not inside:
            starts[n], inside, h = at, True, _SEED
            gaps[n] = _PARAGRAPH if newlines > 1 else _LINE if breaks else 0
            breaks = newlines = 0
        h = (h ^ np.uint64(data[i])) * _FNV
        at += (data[i] & 0xC0) != 0x80
        i += 1
    if inside:
        hashes[n], ends[n] = h, at
        n += 1
    return n


@njit(inline="always")
def _slot(keys, stamps, stamp, mask, key):  # type: ignore[no-untyped-def]
    """Place of the key in an open-addressed table, and whether it was there; entries of other stamps are empty."""
    at = np.int64((key ^ (key >> _U32)) & np.uint64(mask))
    while stamps[at] == stamp and keys[at] != key:
        at = (at + 1) & mask
    known = stamps[at] == stamp
    keys[at], stamps[at] = key, stamp
    return at, known


@njit(inline="always")
def _gram(hashes, start, n):  # type: ignore[no-untyped-def]
    h = _SEED
    for j in range(start, start + n):
        h = (h ^ hashes[j]) * _BASE
        h ^= h >> _U32
    return h


@njit(nogil=True, cache=True)
def _duplicate(hashes, starts, ends, words, n, table, stamp):  # type: ignore[no-untyped-def]
    """Characters inside n-grams that occurred before."""
    keys, stamps, _, _ = table
    covered = done = 0
    for start in range(words - n + 1):
        _, known = _slot(keys, stamps, stamp, len(keys) - 1, _gram(hashes, start, n))
        if known:
            for j in range(max(start, done), start + n):
                covered += ends[j] - starts[j]
            done = start + n
    return covered


@njit(nogil=True, cache=True)
def _top(hashes, starts, ends, words, n, table, stamp):  # type: ignore[no-untyped-def]
    """Characters in all occurrences of the most frequent n-gram (the longest of several); 0: none repeats."""
    keys, stamps, counts, sizes = table
    best = size = 0
    for start in range(words - n + 1):
        at, known = _slot(keys, stamps, stamp, len(keys) - 1, _gram(hashes, start, n))
        if not known:
            counts[at] = 0
            sizes[at] = 0
            for j in range(start, start + n):
                sizes[at] += ends[j] - starts[j]
        counts[at] += 1
        if counts[at] > best or (counts[at] == best and sizes[at] > size):
            best, size = counts[at], sizes[at]
    return best * size if best > 1 else 0


@njit(nogil=True, cache=True)
def _parts_exceed(hashes, starts, ends, gaps, words, least, bounds, table, stamp):  # type: ignore[no-untyped-def]
    """Whether lines (or paragraphs: least 2) that occurred before exceed a bound, by count or by characters."""
    keys, stamps, _, _ = table
    parts = repeated = size = repeated_size = first = 0
    h = _SEED
    for j in range(words + 1):
        if j and (j == words or gaps[j] >= least):
            _, known = _slot(keys, stamps, stamp, len(keys) - 1, h)
            length = ends[j - 1] - starts[first]
            parts += 1
            size += length
            if known:
                repeated += 1
                repeated_size += length
            first, h = j, _SEED
        if j < words:
            h = (h ^ hashes[j]) * _BASE
            h ^= h >> _U32
    return repeated / parts > bounds[0] or repeated_size / size > bounds[1]


@njit(nogil=True, cache=True)
def _exceeds(words, total, arrays, loop, parts, tops, duplicates, table, stamp, long):  # type: ignore[no-untyped-def]
    hashes, starts, ends, gaps = arrays
    covered = _duplicate(hashes, starts, ends, words, _LOOP_NGRAM, table, stamp)
    if covered / total > loop:
        return True
    if not long:
        return False
    for least in (_LINE, _PARAGRAPH):
        bounds = parts[2 * least - 2 : 2 * least]
        if _parts_exceed(hashes, starts, ends, gaps, words, least, bounds, table, stamp + least):
            return True
    stamp += _PARAGRAPH
    for k in range(len(tops[0])):
        stamp += 1
        most = _top(hashes, starts, ends, words, np.int64(tops[0][k]), table, stamp)
        if min(1.0, most / total) > tops[1][k]:
            return True
    # What a repeated long n-gram covers, its repeated shorter ones cover too: `covered` of the last one looked at
    # bounds the others.
    last = np.int64(_LOOP_NGRAM)
    for k in range(len(duplicates[0])):
        n = np.int64(duplicates[0][k])
        stamp += 1
        if n < last or (n > last and covered / total > duplicates[1][k]):
            covered = _duplicate(hashes, starts, ends, words, n, table, stamp)
            last = n
        if covered / total > duplicates[1][k]:
            return True
    return False


@njit(nogil=True, cache=True)
def exceeding(data, begins, stops, least, loop_words, loop, parts, tops, duplicates, longest):  # type: ignore[no-untyped-def]
    """Whether each text data[begins[i]:stops[i]] (UTF-8) may exceed a bound; texts over `longest` bytes are named.

    least: shape (texts,): from so many words on the paper's bounds hold. loop_words, loop: the same and the bound for
    loops. parts: bounds of duplicate lines by count and characters, of paragraphs by count and characters. tops,
    duplicates: shape (2, k), n and bound. Returns shape (texts,).
    """
    out = np.zeros(len(begins), np.bool_)
    room = np.int64(0)
    for i in range(len(begins)):
        if stops[i] - begins[i] <= longest:
            room = max(room, stops[i] - begins[i])
    room = room // 2 + 2
    arrays = (np.empty(room, np.uint64), np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.uint8))
    slots = 16
    while slots < 2 * room:
        slots *= 2
    table = (
        np.empty(slots, np.uint64),
        np.zeros(slots, np.int64),
        np.empty(slots, np.int64),
        np.empty(slots, np.int64),
    )
    stamp = 1
    for i in range(len(begins)):
        if stops[i] - begins[i] > longest:
            out[i] = True
            continue
        words = _words(data, begins[i], stops[i], *arrays)
        if words >= min(least[i], loop_words):
            total = 0
            for j in range(words):
                total += arrays[2][j] - arrays[1][j]
            bound = loop if words >= loop_words else 1.0
            out[i] = _exceeds(words, total, arrays, bound, parts, tops, duplicates, table, stamp, words >= least[i])
            stamp += 4 + tops.shape[1] + duplicates.shape[1]
    return out
