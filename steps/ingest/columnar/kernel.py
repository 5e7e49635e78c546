"""The compiled part of the columnar path: JSON Lines scanned, JSON text written, ids of rows.

What is written here equals what `json`, `contracts.digests.canonical_json` and `contracts.digests.short_id` give; the
tests compare with them. Self-contained, because numba's cache on disk notices changes in this file only.
"""

import numpy as np
from numba import njit

_BLOCK = 128
# The initial values, the first with the parameter block: digest length 16, fanout 1, depth 1.
_IV = np.array(
    [
        0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
        0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
    ],
    np.uint64,
)  # fmt: skip
_FIRST = np.uint64(0x6A09E667F3BCC908 ^ 0x01010010)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_R32, _R24, _R16, _R63 = np.uint64(32), np.uint64(24), np.uint64(16), np.uint64(63)
_L32, _L40, _L48, _L1 = np.uint64(32), np.uint64(40), np.uint64(48), np.uint64(1)
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)

_QUOTE, _BACKSLASH, _SEPARATOR, _COLON, _ZERO, _MINUS, _POINT = 0x22, 0x5C, 0x2C, 0x3A, 0x30, 0x2D, 0x2E
_BRACKET, _END, _BRACE, _CLOSE_BRACE, _NEWLINE, _RETURN, _U, _LESS = 0x5B, 0x5D, 0x7B, 0x7D, 0x0A, 0x0D, 0x75, 0x3C
_OPEN, _COMMA = np.frombuffer(b'["', np.uint8), np.frombuffer(b'",', np.uint8)
_NULL, _NO_MORE = np.frombuffer(b",null,", np.uint8), np.frombuffer(b",null,null,null]", np.uint8)
_TRUE, _FALSE = np.frombuffer(b"true", np.uint8), np.frombuffer(b"false", np.uint8)
_NOTHING, _HUMAN = np.frombuffer(b"null", np.uint8), np.frombuffer(b"Human:", np.uint8)
# A turn's members, with their closing quotes: who, what; who, what.
_TURN_NAMES = np.frombuffer(b'role"content"from"value"', np.uint8)
_TURN_ENDS = np.array([0, 5, 13, 18, 24])
# What `scan_lines` says of lines and values.
CLEAN, CAREFUL = 0, 1
ABSENT, NULL, PLAIN, ESCAPED, LITERAL, TURNS, SPOKEN = range(7)


def _table(marks: dict[bytes, int]) -> np.ndarray:  # type: ignore[type-arg]
    out = np.zeros(256, np.uint8)
    for characters, mark in marks.items():
        out[list(characters)] = mark
    return out


# The letter behind the backslash with which `json` writes a character; 0: it is written as it is.
_ESCAPES = _table({bytes(range(32)): _U, b"\b": 0x62, b"\f": 0x66, b"\n": 0x6E, b"\r": 0x72, b"\t": 0x74,
                   b'"': _QUOTE, b"\\": _BACKSLASH})  # fmt: skip
_UNESCAPES = _table({b'"': _QUOTE, b"\\": _BACKSLASH, b"/": 0x2F, b"b": 8, b"f": 12, b"n": 10, b"r": 13, b"t": 9})
_CLOSE, _ESCAPE, _BAD, _HIGH = 1, 2, 3, 4
# What a byte in a JSON string is; 0: text.
_CLASSES = _table({b'"': _CLOSE, b"\\": _ESCAPE, b"\0\r": _BAD, bytes(range(128, 256)): _HIGH})


@njit(inline="always")
def _g(a, b, c, d, x, y):  # type: ignore[no-untyped-def]
    a = a + b + x
    d = d ^ a
    d = (d >> _R32) | (d << _L32)
    c = c + d
    b = b ^ c
    b = (b >> _R24) | (b << _L40)
    a = a + b + y
    d = d ^ a
    d = (d >> _R16) | (d << _L48)
    c = c + d
    b = b ^ c
    b = (b >> _R63) | (b << _L1)
    return a, b, c, d


@njit(inline="always")
def _round(v, m, o, i0, i1, i2, i3, i4, i5, i6, i7, i8, i9, ia, ib, ic, id_, ie, if_):  # type: ignore[no-untyped-def]
    v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, va, vb, vc, vd, ve, vf = v
    v0, v4, v8, vc = _g(v0, v4, v8, vc, m[o + i0], m[o + i1])
    v1, v5, v9, vd = _g(v1, v5, v9, vd, m[o + i2], m[o + i3])
    v2, v6, va, ve = _g(v2, v6, va, ve, m[o + i4], m[o + i5])
    v3, v7, vb, vf = _g(v3, v7, vb, vf, m[o + i6], m[o + i7])
    v0, v5, va, vf = _g(v0, v5, va, vf, m[o + i8], m[o + i9])
    v1, v6, vb, vc = _g(v1, v6, vb, vc, m[o + ia], m[o + ib])
    v2, v7, v8, vd = _g(v2, v7, v8, vd, m[o + ic], m[o + id_])
    v3, v4, v9, ve = _g(v3, v4, v9, ve, m[o + ie], m[o + if_])
    return v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, va, vb, vc, vd, ve, vf


@njit(inline="always")
def _compressed(h, m, o, count, last):  # type: ignore[no-untyped-def]
    """BLAKE2b's state after one block of 16 words m[o:o + 16] (RFC 7693); `count`: bytes so far, with it."""
    f = _ALL if last else np.uint64(0)
    v = (
        h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7],
        _IV[0], _IV[1], _IV[2], _IV[3], _IV[4] ^ count, _IV[5], _IV[6] ^ f, _IV[7],
    )  # fmt: skip
    v = _round(v, m, o, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
    v = _round(v, m, o, 14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3)
    v = _round(v, m, o, 11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4)
    v = _round(v, m, o, 7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8)
    v = _round(v, m, o, 9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13)
    v = _round(v, m, o, 2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9)
    v = _round(v, m, o, 12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11)
    v = _round(v, m, o, 13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10)
    v = _round(v, m, o, 6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5)
    v = _round(v, m, o, 10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0)
    v = _round(v, m, o, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
    v = _round(v, m, o, 14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3)
    return (
        h[0] ^ v[0] ^ v[8], h[1] ^ v[1] ^ v[9], h[2] ^ v[2] ^ v[10], h[3] ^ v[3] ^ v[11],
        h[4] ^ v[4] ^ v[12], h[5] ^ v[5] ^ v[13], h[6] ^ v[6] ^ v[14], h[7] ^ v[7] ^ v[15],
    )  # fmt: skip


@njit(inline="always")
def _put_size(buffer, at, size):  # type: ignore[no-untyped-def]
    for k in range(8):
        buffer[at + k] = (size >> (8 * k)) & 255
    return at + 8


@njit(inline="always")
def _put(buffer, at, data, start, end):  # type: ignore[no-untyped-def]
    for k in range(end - start):
        buffer[at + k] = data[start + k]
    return at + end - start


@njit(inline="always")
def _put_quoted(buffer, at, data, start, end):  # type: ignore[no-untyped-def]
    """Text as a JSON string, as `canonical_json` writes it; needs room for six times its bytes and two."""
    buffer[at] = _QUOTE
    at += 1
    for i in range(start, end):
        b = data[i]
        e = _ESCAPES[b]
        if e == 0:
            buffer[at] = b
            at += 1
        else:
            buffer[at] = _BACKSLASH
            buffer[at + 1] = e
            at += 2
            if e == _U:
                buffer[at] = _ZERO
                buffer[at + 1] = _ZERO
                buffer[at + 2] = _HEX[b >> 4]
                buffer[at + 3] = _HEX[b & 15]
                at += 4
    buffer[at] = _QUOTE
    return at + 1


@njit(nogil=True, cache=True)
def put_heads(source, prefix, numbers, sizes, out, ends, places, place_ends):  # type: ignore[no-untyped-def]
    """Locators (prefix and number) of n rows, and what `short_id` hashes ahead of their raw bytes, of these sizes.

    out gets len(source) + 48 bytes per row and ends n + 1 ends; places 24 bytes per row (for a prefix of five).
    """
    here = at = 0
    ends[0] = place_ends[0] = 0
    for i in range(numbers.shape[0]):
        first = here
        here = _put(places, here, prefix, 0, prefix.shape[0])
        digits, rest = 1, numbers[i]
        while rest >= 10:
            rest //= 10
            digits += 1
        rest = numbers[i]
        for k in range(digits):
            places[here + digits - 1 - k] = _ZERO + rest % 10
            rest //= 10
        here += digits
        place_ends[i + 1] = here
        at = _put_size(out, at, source.shape[0])
        at = _put(out, at, source, 0, source.shape[0])
        at = _put_size(out, at, here - first)
        at = _put(out, at, places, first, here)
        at = _put_size(out, at, sizes[i])
        ends[i + 1] = at


@njit(nogil=True, cache=True)
def hashes(heads, head_ends, data, starts, ends, words, ids):  # type: ignore[no-untyped-def]
    """32 hex characters each: BLAKE2b of heads[head_ends[i]:head_ends[i + 1]] and data[starts[i]:ends[i]].

    `words`: uint64 scratch for the longest of them and 128 bytes more.
    """
    buffer = words.view(np.uint8)
    for i in range(starts.shape[0]):
        size = _put(buffer, 0, heads, head_ends[i], head_ends[i + 1])
        size = _put(buffer, size, data, starts[i], ends[i])
        whole = max((size + _BLOCK - 1) // _BLOCK, 1) * _BLOCK
        for k in range(size, whole):
            buffer[k] = 0
        h = (_FIRST, _IV[1], _IV[2], _IV[3], _IV[4], _IV[5], _IV[6], _IV[7])
        for at in range(0, whole, _BLOCK):
            last = at + _BLOCK == whole
            h = _compressed(h, words, at >> 3, np.uint64(size if last else at + _BLOCK), last)
        for k in range(16):
            word = h[0] if k < 8 else h[1]
            b = (word >> np.uint64(8 * (k & 7))) & np.uint64(255)
            ids[32 * i + 2 * k] = _HEX[b >> np.uint64(4)]
            ids[32 * i + 2 * k + 1] = _HEX[b & np.uint64(15)]


@njit(nogil=True, cache=True)
def put_contents(kind, lists, roles, data, text_ends, role_data, role_ends, texts, out, ends):  # type: ignore[no-untyped-def]
    """What `records.content_id_of` hashes, the JSON of n rows' content, to `out`, which gets n + 1 ends.

    kind: bytes of the kind. Row i of a conversation or preference has in list k (messages, chosen, rejected) the turns
    lists[k, i]:lists[k, i + 1]; turn t has the role number roles[t] and the text data[text_ends[t]:text_ends[t + 1]].
    Role r is role_data[role_ends[r]:role_ends[r + 1]]. A document (`texts`) has turn i as its text, and no lists.
    `out` needs the texts as JSON strings, 48 bytes more per turn and 64 per row.
    """
    at = 0
    ends[0] = 0
    for i in range(ends.shape[0] - 1):
        at = _put(out, at, _OPEN, 0, 2)
        at = _put(out, at, kind, 0, kind.shape[0])
        at = _put(out, at, _COMMA, 0, 2)
        for k in range(3):
            if k == 1:
                at = _put(out, at, _NULL, 0, 6)
            elif k == 2:
                out[at] = _SEPARATOR
                at += 1
            out[at] = _BRACKET
            at += 1
            if not texts:
                for t in range(lists[k, i], lists[k, i + 1]):
                    if t > lists[k, i]:
                        out[at] = _SEPARATOR
                        at += 1
                    at = _put(out, at, _OPEN, 0, 2)
                    at = _put(out, at, role_data, role_ends[roles[t]], role_ends[roles[t] + 1])
                    at = _put(out, at, _COMMA, 0, 2)
                    at = _put_quoted(out, at, data, text_ends[t], text_ends[t + 1])
                    at = _put(out, at, _NO_MORE, 0, 16)
            out[at] = _END
            at += 1
        out[at] = _SEPARATOR
        at += 1
        if texts:
            at = _put_quoted(out, at, data, text_ends[i], text_ends[i + 1])
        else:
            at = _put(out, at, _NULL, 1, 5)
        out[at] = _END
        at += 1
        ends[i + 1] = at


@njit(nogil=True, cache=True)
def quoted_sizes(data, ends, sizes):  # type: ignore[no-untyped-def]
    """Add to sizes[i] the bytes of text data[ends[i]:ends[i + 1]] as a JSON string."""
    for i in range(sizes.shape[0]):
        more = 2
        for k in range(ends[i], ends[i + 1]):
            e = _ESCAPES[data[k]]
            if e:
                more += 5 if e == _U else 1
        sizes[i] += ends[i + 1] - ends[i] + more


@njit(nogil=True, cache=True)
def put_members(key, data, ends, there, quote, out, at, begun):  # type: ignore[no-untyped-def]
    """Write one member (key with its colon, and value) of n JSON objects to `out` behind at[i], which moves on.

    The value is data[ends[i]:ends[i + 1]], as a JSON string with `quote`; objects without it (`there`) are left alone.
    begun[i]: whether a comma must come first.
    """
    for i in range(at.shape[0]):
        if there[i]:
            a = at[i]
            if begun[i]:
                out[a] = _SEPARATOR
                a += 1
            begun[i] = True
            a = _put(out, a, key, 0, key.shape[0])
            if quote:
                a = _put_quoted(out, a, data, ends[i], ends[i + 1])
            else:
                a = _put(out, a, data, ends[i], ends[i + 1])
            at[i] = a


@njit(nogil=True, cache=True)
def put_lists(lists, data, ends, out, out_ends):  # type: ignore[no-untyped-def]
    """JSON lists whose elements are JSON text: list i of lists[i]:lists[i + 1], element e of data[ends[e]:ends[e + 1]].

    out_ends gets n + 1 ends; `out` needs the elements' bytes, one more for each, and two for each list.
    """
    at = 0
    out_ends[0] = 0
    for i in range(lists.shape[0] - 1):
        out[at] = _BRACKET
        at += 1
        for e in range(lists[i], lists[i + 1]):
            if e > lists[i]:
                out[at] = _SEPARATOR
                at += 1
            at = _put(out, at, data, ends[e], ends[e + 1])
        out[at] = _END
        at += 1
        out_ends[i + 1] = at


@njit(nogil=True, cache=True)
def characters(data, ends, out):  # type: ignore[no-untyped-def]
    """Code points of each text data[ends[i]:ends[i + 1]]."""
    for i in range(out.shape[0]):
        n = 0
        for k in range(ends[i], ends[i + 1]):
            n += (data[k] & 0xC0) != 0x80
        out[i] = n


@njit(inline="always")
def _utf8(data, i, end):  # type: ignore[no-untyped-def]
    """Bytes of the well-formed sequence at byte i, which is no ASCII; 0 where it is none."""
    b = data[i]
    if 0xC2 <= b < 0xE0:
        return 2 if i + 1 < end and data[i + 1] & 0xC0 == 0x80 else 0
    if i + 2 >= end or data[i + 1] & 0xC0 != 0x80 or data[i + 2] & 0xC0 != 0x80:
        return 0
    if 0xE0 <= b < 0xF0:
        bad = (b == 0xE0 and data[i + 1] < 0xA0) or (b == 0xED and data[i + 1] >= 0xA0)
        return 0 if bad else 3
    if b < 0xF0 or b > 0xF4 or i + 3 >= end or data[i + 3] & 0xC0 != 0x80:
        return 0
    bad = (b == 0xF0 and data[i + 1] < 0x90) or (b == 0xF4 and data[i + 1] >= 0x90)
    return 0 if bad else 4


@njit(nogil=True, cache=True)
def odd_bytes(data, ends, odd):  # type: ignore[no-untyped-def]
    """Set odd[i] where text data[ends[i]:ends[i + 1]] isn't UTF-8 or holds a NUL."""
    for i in range(odd.shape[0]):
        k, end = ends[i], ends[i + 1]
        while k < end:
            b = data[k]
            c = _CLASSES[b]
            if c == _HIGH:
                size = _utf8(data, k, end)
                if size == 0:
                    odd[i] = True
                    break
                k += size
                continue
            if b == 0:
                odd[i] = True
                break
            k += 1


@njit(inline="always")
def _is(data, i, end, word):  # type: ignore[no-untyped-def]
    if i + word.shape[0] > end:
        return False
    for k in range(word.shape[0]):
        if data[i + k] != word[k]:
            return False
    return True


@njit(nogil=True, cache=True)
def odd_starts(data, ends, plain, odd):  # type: ignore[no-untyped-def]
    """Set odd[i] where a text may be blank, or unless `plain`, begins like JSON, a tag or a transcript."""
    for i in range(odd.shape[0]):
        k, end, said = ends[i], ends[i + 1], False
        while k < end and not said:
            b = data[k]
            # What is neither white space nor may begin the UTF-8 of any: U+0085, A0, 1680, 2000-205F, 3000.
            high = b >= 0xC3 and b not in (0xE1, 0xE2)
            if high and b == 0xE3:
                high = k + 2 < end and not (data[k + 1] == 0x80 and data[k + 2] == 0x80)
            said = 0x21 <= b <= 0x7E or high
            if not said:
                k += 1
        odd[i] |= not said
        if said and not plain:
            odd[i] |= data[k] == _BRACKET or data[k] == _BRACE or data[k] == _LESS or _is(data, k, end, _HUMAN)


@njit(inline="always")
def _hex_at(data, i):  # type: ignore[no-untyped-def]
    """Value of the four hex digits at byte i; -1 where they are none."""
    value = 0
    for k in range(4):
        b = data[i + k]
        if 0x30 <= b <= 0x39:
            d = b - 0x30
        elif 0x61 <= (b | 32) <= 0x66:
            d = (b | 32) - 0x57
        else:
            return -1
        value = value * 16 + d
    return value


@njit(nogil=True, cache=True)
def _string(data, i, end):  # type: ignore[no-untyped-def]
    """(place of the closing quote, whether there are escapes) of the string that begins at byte i, behind its quote.

    Place -1: it isn't valid, or holds what the careful path looks at (NUL, lone surrogates, CR).
    """
    escaped = False
    while i < end:
        b = data[i]
        c = _CLASSES[b]
        if c == 0:
            i += 1
            continue
        if c == _CLOSE:
            return i, escaped
        if c == _ESCAPE:
            escaped = True
            if i + 1 >= end:
                return -1, escaped
            e = data[i + 1]
            if e == _U:
                if i + 5 >= end:
                    return -1, escaped
                point = _hex_at(data, i + 2)
                if point <= 0 or 0xDC00 <= point <= 0xDFFF:
                    return -1, escaped
                if 0xD800 <= point:
                    if point < 0xDC00:
                        if i + 11 >= end or data[i + 6] != _BACKSLASH or data[i + 7] != _U:
                            return -1, escaped
                        low = _hex_at(data, i + 8)
                        if low < 0xDC00 or low > 0xDFFF:
                            return -1, escaped
                        i += 6
                i += 6
            elif _UNESCAPES[e]:
                i += 2
            else:
                return -1, escaped
        elif c == _HIGH:
            size = _utf8(data, i, end)
            if size == 0:
                return -1, escaped
            i += size
        else:
            return -1, escaped
    return -1, escaped


@njit(inline="always")
def _past_space(data, i, end):  # type: ignore[no-untyped-def]
    while i < end and (data[i] == 0x20 or data[i] == 0x09):
        i += 1
    return i


@njit(nogil=True, cache=True)
def _number(data, i, end):  # type: ignore[no-untyped-def]
    """End of the number at byte i if Python would write it as it stands; -1 otherwise."""
    first = i
    if data[i] == _MINUS:
        i += 1
    whole = i
    while i < end and 0x30 <= data[i] <= 0x39:
        i += 1
    digits = i - whole
    if digits == 0 or digits > 15 or (digits > 1 and data[whole] == _ZERO):
        return -1
    if i < end and data[i] == _POINT:
        i += 1
        start = i
        while i < end and 0x30 <= data[i] <= 0x39:
            i += 1
        behind = i - start
        # 15 digits survive a double, and the shortest text of one has no zero at its end.
        if behind == 0 or digits + behind > 15 or (behind > 1 and data[i - 1] == _ZERO):
            return -1
        # Python writes less than 0.0001 with an exponent.
        if digits == 1 and data[whole] == _ZERO and behind > 4:
            if (
                data[start] == _ZERO
                and data[start + 1] == _ZERO
                and data[start + 2] == _ZERO
                and data[start + 3] == _ZERO
            ):
                return -1
    elif first != whole and digits == 1 and data[whole] == _ZERO:
        return -1
    if i < end and (data[i] | 32 == 0x65 or data[i] == _POINT):
        return -1
    return i


@njit(nogil=True, cache=True)
def _turns(data, i, end, turns, n):  # type: ignore[no-untyped-def]
    """(byte behind the list that starts at byte i, new n, kind of its turns); byte -1 where it is none of plain turns.

    Turn n becomes turns[n] = (start, end of the role, start, end of the text, whether that has escapes).
    """
    form = 0
    i = _past_space(data, i + 1, end)
    while True:
        if i >= end or data[i] != _BRACE:
            return -1, n, form
        i = _past_space(data, i + 1, end)
        found = 0
        for member in range(2):
            if i >= end or data[i] != _QUOTE:
                return -1, n, form
            i += 1
            for which in range(4):
                name = _TURN_NAMES[_TURN_ENDS[which] : _TURN_ENDS[which + 1]]
                if _is(data, i, end, name):
                    break
            else:
                return -1, n, form
            i = _past_space(data, i + name.shape[0], end)
            mine = 1 + which // 2
            if (form and form != mine) or found == 1 + which % 2 or i >= end or data[i] != _COLON:
                return -1, n, form
            form, found = mine, 1 + which % 2
            i = _past_space(data, i + 1, end)
            if i >= end or data[i] != _QUOTE:
                return -1, n, form
            close, escaped = _string(data, i + 1, end)
            if close < 0 or (escaped and which % 2 == 0):
                return -1, n, form
            turns[n, 2 * (which % 2)] = i + 1
            turns[n, 2 * (which % 2) + 1] = close
            if which % 2:
                turns[n, 4] = escaped
            i = _past_space(data, close + 1, end)
            if member == 0:
                if i >= end or data[i] != _SEPARATOR:
                    return -1, n, form
                i = _past_space(data, i + 1, end)
        if i >= end or data[i] != _CLOSE_BRACE:
            return -1, n, form
        n += 1
        i = _past_space(data, i + 1, end)
        if i < end and data[i] == _SEPARATOR:
            i = _past_space(data, i + 1, end)
        elif i < end and data[i] == _END:
            return i + 1, n, form
        else:
            return -1, n, form


@njit(nogil=True, cache=True)
def _object(data, i, end, names, name_ends, kinds, values, turns, n):  # type: ignore[no-untyped-def]
    """New n if the object at byte i, up to `end`, is one whose values the columnar path knows; -1 otherwise.

    Writes kind and place of each known column's value to kinds[c], values[c].
    """
    columns = name_ends.shape[0] - 1
    kinds[:] = 0
    if i >= end or data[i] != _BRACE:
        return -1
    guess = 0
    while True:
        i = _past_space(data, i + 1, end)
        if i >= end or data[i] != _QUOTE:
            return -1
        i += 1
        column = -1
        for k in range(columns):
            c = guess + k if guess + k < columns else guess + k - columns
            if _is(data, i, end, names[name_ends[c] : name_ends[c + 1]]):
                column = c
                break
        if column < 0 or kinds[column]:
            return -1
        guess = column + 1 if column + 1 < columns else 0
        i = _past_space(data, i + name_ends[column + 1] - name_ends[column], end)
        if i >= end or data[i] != _COLON:
            return -1
        i = _past_space(data, i + 1, end)
        if i >= end:
            return -1
        b, start = data[i], i
        if b == _QUOTE:
            start = i + 1
            close, escaped = _string(data, start, end)
            if close < 0:
                return -1
            kinds[column] = ESCAPED if escaped else PLAIN
            i = close + 1
            values[column, 1] = close
        elif b == _BRACKET:
            start = n
            i, n, form = _turns(data, i, end, turns, n)
            if i < 0:
                return -1
            kinds[column] = TURNS if form == 1 else SPOKEN
            values[column, 1] = n
        else:
            if _is(data, i, end, _TRUE):
                kinds[column], i = LITERAL, i + 4
            elif _is(data, i, end, _FALSE):
                kinds[column], i = LITERAL, i + 5
            elif _is(data, i, end, _NOTHING):
                kinds[column], i = NULL, i + 4
            else:
                i = _number(data, i, end)
                if i < 0:
                    return -1
                kinds[column] = LITERAL
            values[column, 1] = i
        values[column, 0] = start
        i = _past_space(data, i, end)
        if i >= end:
            return -1
        if data[i] == _CLOSE_BRACE:
            return n if _past_space(data, i + 1, end) == end else -1
        if data[i] != _SEPARATOR:
            return -1


@njit(nogil=True, cache=True)
def scan_lines(data, names, name_ends, longest, starts, ends, nexts, status, kinds, values, turns):  # type: ignore[no-untyped-def]
    """The lines of a block as rows of known columns; returns the number of lines.

    data: whole lines; the last one may lack its end. Column c is called names[name_ends[c]:name_ends[c + 1]], with the
    closing quote. Line i is data[starts[i]:ends[i]], without its line end, and the next one begins at nexts[i].
    status[i]: CLEAN, or CAREFUL (its values say nothing). kinds[i, c]: ABSENT, NULL, PLAIN (a string), ESCAPED (one
    with escapes), LITERAL (a number, true or false), TURNS (a list of role and content) or SPOKEN (of from and value);
    values[i, c]: where its bytes are, of lists the turns. Rows longer than `longest` bytes are CAREFUL.
    """
    n = line = i = 0
    size = data.shape[0]
    while i < size:
        start = i
        while i < size and data[i] != _NEWLINE:
            i += 1
        end = i
        i = min(i + 1, size)
        if end > start and data[end - 1] == _RETURN:
            end -= 1
        starts[line], ends[line], nexts[line] = start, end, i
        status[line] = CAREFUL
        if end - start <= longest:
            after = _object(data, start, end, names, name_ends, kinds[line], values[line], turns, n)
            if after >= 0:
                status[line] = CLEAN
                n = after
        line += 1
    return line


@njit(nogil=True, cache=True)
def unescaped(data, starts, ends, escaped, out, out_ends):  # type: ignore[no-untyped-def]
    """The texts of JSON strings data[starts[i]:ends[i]], one after another; out_ends gets n + 1 ends.

    escaped[i]: whether there are escapes in it; `scan_lines` has found them valid.
    """
    at = 0
    out_ends[0] = 0
    for i in range(starts.shape[0]):
        k, end = starts[i], ends[i]
        if not escaped[i]:
            at = _put(out, at, data, k, end)
            k = end
        while k < end:
            b = data[k]
            if b != _BACKSLASH:
                out[at] = b
                at, k = at + 1, k + 1
                continue
            e = data[k + 1]
            if e != _U:
                out[at] = _UNESCAPES[e]
                at, k = at + 1, k + 2
                continue
            point = _hex_at(data, k + 2)
            k += 6
            if point >= 0x80:
                if 0xD800 <= point < 0xDC00:
                    point = 0x10000 + ((point - 0xD800) << 10) + (_hex_at(data, k + 2) - 0xDC00)
                    k += 6
                    out[at] = 0xF0 | point >> 18
                    out[at + 1] = 0x80 | (point >> 12 & 63)
                    at += 2
                elif point >= 0x800:
                    out[at] = 0xE0 | point >> 12
                    at += 1
                else:
                    out[at] = 0xC0 | point >> 6
                    out[at + 1] = 0x80 | (point & 63)
                    at += 2
                    continue
                out[at] = 0x80 | (point >> 6 & 63)
                out[at + 1] = 0x80 | (point & 63)
                at += 2
            else:
                out[at] = point
                at += 1
        out_ends[i + 1] = at
    return at


@njit(nogil=True, cache=True)
def role_numbers(data, starts, ends, names, name_ends, out):  # type: ignore[no-untyped-def]
    """Number of the name that data[starts[i]:ends[i]] is, -1 for none."""
    for i in range(out.shape[0]):
        out[i] = -1
        for r in range(name_ends.shape[0] - 1):
            size = name_ends[r + 1] - name_ends[r]
            if ends[i] - starts[i] == size and _is(data, starts[i], ends[i], names[name_ends[r] : name_ends[r + 1]]):
                out[i] = r
                break
