"""The compiled part of tokenising: texts to words (pre-tokens), words to the token ids that are known of them.

The definition is the tokenizer itself; the tests compare with it. Self-contained, because numba's cache on disk notices
changes in this file only.
"""

import numpy as np

from steps.engines.imports.compiler import njit

# Classes of characters. UNKNOWN: nobody has asked the regular expression engine about them yet.
LETTER, DIGIT, SPACE, NEWLINE, OTHER, LONG_S = range(6)
UNKNOWN = 255
# Code points that are classified together.
PAGE = 4_096
# Forms of pre-tokenizers: GPT-2's, and that of cl100k, which Llama 3 and Qwen share but for the length of numbers.
GPT2, CL100K = range(2)
# What a word is in the table where it isn't: not seen yet; from ADDED down: an added token, ADDED - its id.
MISSING, ADDED = -1, -2
_SEED, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_29, _1 = np.uint64(29), np.uint64(1)
_QUOTE, _BLANK = 0x27, 0x20
_S, _T, _D, _M, _R, _E, _V, _L = (ord(c) for c in "stdmrevl")


@njit(inline="always")
def _point(data, i):  # type: ignore[no-untyped-def]
    """The code point at byte i, and where the next one begins."""
    b = np.int32(data[i])
    if b < 0x80:
        return b, i + 1
    if b < 0xE0:
        return (b & 0x1F) << 6 | data[i + 1] & 0x3F, i + 2
    if b < 0xF0:
        return (b & 0x0F) << 12 | (data[i + 1] & 0x3F) << 6 | data[i + 2] & 0x3F, i + 3
    high = (b & 0x07) << 18 | (data[i + 1] & 0x3F) << 12
    return high | (data[i + 2] & 0x3F) << 6 | data[i + 3] & 0x3F, i + 4


@njit(inline="always")
def _class(data, i, classes):  # type: ignore[no-untyped-def]
    """Class of the character at byte i, and where the next one begins."""
    p, after = _point(data, i)
    return classes[p], after


@njit(inline="always")
def _run(data, i, end, classes, kind, most):  # type: ignore[no-untyped-def]
    """Where a run of at most `most` characters of one class ends; letters include the long s."""
    n = 0
    while i < end and n < most:
        c, after = _class(data, i, classes)
        if c != kind and not (kind == LETTER and c == LONG_S):
            break
        i = after
        n += 1
    return i


@njit(inline="always")
def _contraction(data, i, end, folded):  # type: ignore[no-untyped-def]
    """Where a contraction ('s 't 're 've 'm 'll 'd) that begins at i ends, else i; folded: in any case."""
    if data[i] != _QUOTE or i + 1 >= end:
        return i
    a = np.int32(data[i + 1])
    b = np.int32(data[i + 2]) if i + 2 < end else np.int32(0)
    if folded:
        a = a | 0x20 if 0x41 <= a <= 0x5A else a
        b = b | 0x20 if 0x41 <= b <= 0x5A else b
        if a == 0xC5 and i + 2 < end and data[i + 2] == 0xBF:  # the long s, which is an s in another case
            return i + 3
    if a in (_S, _T, _M, _D):
        return i + 2
    if (b == _E and (a in (_R, _V))) or (a == _L and b == _L):
        return i + 3
    return i


@njit(inline="always")
def _space_end(data, i, end, classes, newlines):  # type: ignore[no-untyped-def]
    """Where the word that begins with white space at i ends; newlines: it goes up to the last newline of the run."""
    last, at, newline = i, i, -1
    while at < end:
        c, after = _class(data, at, classes)
        if c not in (SPACE, NEWLINE):
            break
        last, at = at, after
        if c == NEWLINE:
            newline = after
    if newlines and newline >= 0:
        return newline
    if at == end or last == i:
        return at
    return last


@njit(inline="always")
def _gpt2_word(data, i, end, classes):  # type: ignore[no-untyped-def]
    """Where the word that begins at i ends, after GPT-2's regular expression."""
    c, after = _class(data, i, classes)
    if c == OTHER:
        stop = _contraction(data, i, end, False)
        if stop > i:
            return stop
    if data[i] == _BLANK and after < end:
        following, _ = _class(data, after, classes)
        if following not in (SPACE, NEWLINE):
            c = following
            i = after
    if c in (SPACE, NEWLINE):
        return _space_end(data, i, end, classes, False)
    return _run(data, i, end, classes, LETTER if c == LONG_S else c, end)


@njit(inline="always")
def _cl100k_word(data, i, end, classes, digits):  # type: ignore[no-untyped-def]
    """Where the word that begins at i ends, after cl100k's regular expression; digits: most of a number's."""
    c, after = _class(data, i, classes)
    if c in (LETTER, LONG_S):
        return _run(data, i, end, classes, LETTER, end)
    if c == DIGIT:
        return _run(data, i, end, classes, DIGIT, digits)
    if c == OTHER:
        stop = _contraction(data, i, end, True)
        if stop > i:
            return stop
    following = np.uint8(UNKNOWN)
    if after < end:
        following, _ = _class(data, after, classes)
    if c != NEWLINE and (following in (LETTER, LONG_S)):
        return _run(data, after, end, classes, LETTER, end)
    if c == OTHER or (data[i] == _BLANK and following == OTHER):
        stop = _run(data, after, end, classes, OTHER, end)
        return _run(data, stop, end, classes, NEWLINE, end)
    return _space_end(data, i, end, classes, True)


@njit(inline="always")
def _added(data, i, end, firsts, bytes_, children, siblings, ids):  # type: ignore[no-untyped-def]
    """The first added token in data[i:end], the longest one there: where it begins and ends, and its id.

    bytes_, children, siblings, ids (-1: none ends here): the nodes of a trie; node 0 is its root.
    """
    while i < end:
        if firsts[data[i]]:
            node, at, stop, found = children[0], i, i, -1
            while node >= 0 and at < end:
                if bytes_[node] == data[at]:
                    at += 1
                    if ids[node] >= 0:
                        stop, found = at, ids[node]
                    node = children[node]
                else:
                    node = siblings[node]
            if found >= 0:
                return i, stop, found
        i += 1
    return end, end, -1


@njit(inline="always")
def _hash(data, i, end):  # type: ignore[no-untyped-def]
    h = _SEED
    for k in range(i, end):
        h = (h ^ np.uint64(data[k])) * _PRIME
    h = (h ^ h >> _29) * _MIX
    return h ^ h >> _29


@njit(inline="always")
def _find(data, i, end, h, table, hashes, offsets, pool):  # type: ignore[no-untyped-def]
    """Number of the word data[i:end] in the table, MISSING where it isn't in it."""
    mask = np.uint64(table.shape[0] - 1)
    slot = h & mask
    while table[slot] >= 0:
        word = table[slot]
        start = offsets[word]
        if hashes[word] == h and offsets[word + 1] - start == end - i:
            k = 0
            while k < end - i and pool[start + k] == data[i + k]:
                k += 1
            if k == end - i:
                return word
        slot = (slot + _1) & mask
    return MISSING


@njit(nogil=True, cache=True)
def unknown_page(data, classes):  # type: ignore[no-untyped-def]
    """A page of code points that occurs in the UTF-8 text and isn't classified yet; -1: there is none."""
    i = 0
    while i < data.shape[0]:
        if data[i] < 0x80:
            i += 1
            continue
        p, i = _point(data, i)
        if classes[p] == UNKNOWN:
            return p // PAGE
    return -1


@njit(nogil=True, cache=True)
def split(data, bounds, form, digits, classes, trie, table, hashes, offsets, pool, ends, numbers, counts):  # type: ignore[no-untyped-def]
    """Words of the UTF-8 texts data[bounds[t]:bounds[t + 1]]: where each ends, and its number in the table.

    Args:
        trie: firsts, bytes, children, siblings and ids of the added tokens, see _added.
        ends, numbers: out, with room for as many words as there are bytes; counts: out, words up to each text.

    Returns the number of words. No character may be UNKNOWN.
    """
    firsts, bytes_, children, siblings, ids = trie
    n = 0
    counts[0] = 0
    for t in range(bounds.shape[0] - 1):
        i, end = bounds[t], bounds[t + 1]
        while i < end:
            piece, stop, token = _added(data, i, end, firsts, bytes_, children, siblings, ids)
            while i < piece:
                after = (
                    _gpt2_word(data, i, piece, classes)
                    if form == GPT2
                    else _cl100k_word(data, i, piece, classes, digits)
                )
                ends[n] = after
                numbers[n] = _find(data, i, after, _hash(data, i, after), table, hashes, offsets, pool)
                n += 1
                i = after
            if token >= 0:
                ends[n] = stop
                numbers[n] = ADDED - token
                n += 1
                i = stop
        counts[t + 1] = n
    return n


@njit(nogil=True, cache=True)
def insert(first, count, table, hashes, offsets, pool):  # type: ignore[no-untyped-def]
    """Enter the words first to count - 1, whose bytes lie in the pool and which are distinct, into the table."""
    mask = np.uint64(table.shape[0] - 1)
    for word in range(first, count):
        h = _hash(pool, offsets[word], offsets[word + 1])
        hashes[word] = h
        slot = h & mask
        while table[slot] >= 0:
            slot = (slot + _1) & mask
        table[slot] = word


@njit(nogil=True, cache=True)
def emit(bounds, counts, ends, numbers, tokens, out):  # type: ignore[no-untyped-def]
    """Tokens of the words of each text.

    Args:
        tokens: offsets, ids, starts, ends, edges: offsets[w]:offsets[w + 1] are those of word w, their places in bytes
            of the word.
        out: ids, starts, ends and edges in bytes of the text, and tokens up to each text.
    """
    offsets, known_ids, known_starts, known_ends, known_edges = tokens
    ids, starts, stops, edges, totals = out
    n = 0
    totals[0] = 0
    for t in range(bounds.shape[0] - 1):
        at = np.int64(0)
        for w in range(counts[t], counts[t + 1]):
            word = numbers[w]
            after = ends[w] - bounds[t]
            if word <= ADDED:
                ids[n], starts[n], stops[n], edges[n] = ADDED - word, at, after, after
                n += 1
            else:
                for k in range(offsets[word], offsets[word + 1]):
                    ids[n], edges[n] = known_ids[k], at + known_edges[k]
                    starts[n], stops[n] = at + known_starts[k], at + known_ends[k]
                    n += 1
            at = after
        totals[t + 1] = n
