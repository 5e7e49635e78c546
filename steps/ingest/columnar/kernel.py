"""The compiled part of the columnar path: JSON Lines scanned, JSON text written, what is hashed for a row's ids.

What is written here equals what `json` and `contracts.digests.canonical_json` give; the tests compare with them. Long
runs of bytes are looked at and copied under unsigned numbers, which numba needs not check for negative ones: only then
do they go through the processor's wide registers. Self-contained, because numba's cache on disk notices changes in this
file only.
"""

import numpy as np

from steps.engines.imports.compiler import njit

_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
# Bytes that are looked at together: as many as fill a register of AVX-512.
_BYTES = 64
_PIECE = np.uint64(_BYTES)

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
_BACKSLASHES = _table({b"\\": 1})
_CLOSE, _ESCAPE, _BAD, _HIGH = 1, 2, 3, 4
# What a byte in a JSON string is; 0: text.
_CLASSES = _table({b'"': _CLOSE, b"\\": _ESCAPE, b"\0\r": _BAD, bytes(range(128, 256)): _HIGH})


@njit(inline="always")
def _put_size(buffer, at, size):  # type: ignore[no-untyped-def]
    for k in range(8):
        buffer[at + k] = (size >> (8 * k)) & 255
    return at + 8


@njit(forceinline=True)
def _put(buffer, at, data, start, end):  # type: ignore[no-untyped-def]
    to, of = np.uint64(at), np.uint64(start)
    for k in range(np.uint64(end - start)):
        buffer[to + k] = data[of + k]
    return at + end - start


@njit(forceinline=True)
def _skip(data, i, end, least, one, other, most):  # type: ignore[no-untyped-def]
    """Place behind those whole pieces from byte i on that hold no byte below `least`, above `most`, nor the two."""
    at, last = np.uint64(i), np.uint64(end)
    while at + _PIECE <= last:
        found = np.uint8(0)
        for k in range(_PIECE):
            b = data[at + k]
            found = np.uint8(found | np.uint8((b < least) | (b == one) | (b == other) | (b > most)))
        if found:
            break
        at += _PIECE
    return np.int64(at)


@njit(forceinline=True)
def _next(data, i, end, table, most):  # type: ignore[no-untyped-def]
    """Place of the first byte from i on whose class in `table` isn't 0; `end` for none. ASCII that is no control, quote
    or backslash has class 0, as all bytes above `most` may have another."""
    while i < end:
        i = _skip(data, i, end, 32, _QUOTE, _BACKSLASH, most)
        stop = min(i + _BYTES, end)
        while i < stop:
            if table[data[np.uint64(i)]]:
                return i
            i += 1
    return end


@njit(forceinline=True)
def _put_quoted(buffer, at, data, start, end):  # type: ignore[no-untyped-def]
    """Text as a JSON string, as `canonical_json` writes it; needs room for six times its bytes and two."""
    buffer[at] = _QUOTE
    at += 1
    while True:
        stop = _next(data, start, end, _ESCAPES, 255)
        at = _put(buffer, at, data, start, stop)
        if stop == end:
            break
        b = data[stop]
        e = _ESCAPES[b]
        buffer[at] = _BACKSLASH
        buffer[at + 1] = e
        at += 2
        if e == _U:
            buffer[at] = _ZERO
            buffer[at + 1] = _ZERO
            buffer[at + 2] = _HEX[b >> 4]
            buffer[at + 3] = _HEX[b & 15]
            at += 4
        start = stop + 1
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
        k, end, more = ends[i], ends[i + 1], 2
        while k < end:
            k = _next(data, k, end, _ESCAPES, 255)
            if k < end:
                more += 5 if _ESCAPES[data[k]] == _U else 1
                k += 1
        sizes[i] += end - ends[i] + more


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
        n, first = 0, np.uint64(ends[i])
        for k in range(np.uint64(ends[i + 1] - ends[i])):
            n += (data[first + k] & 0xC0) != 0x80
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
        while k < end and not odd[i]:
            k = _skip(data, k, end, 1, 0, 0, 127)
            stop = min(k + _BYTES, end)
            while k < stop:
                b = data[k]
                size = 1 if 0 < b < 128 else 0 if b == 0 else _utf8(data, k, end)
                if size == 0:
                    odd[i] = True
                    break
                k += size


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
    while True:
        i = _next(data, i, end, _CLASSES, 127)
        if i == end:
            return -1, escaped
        c = _CLASSES[data[i]]
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


@njit(forceinline=True)
def _line_end(data, i, end):  # type: ignore[no-untyped-def]
    """Place of the next line end; `end` for none."""
    while i < end:
        i = _skip(data, i, end, 0, _NEWLINE, _NEWLINE, 255)
        stop = min(i + _BYTES, end)
        while i < stop:
            if data[np.uint64(i)] == _NEWLINE:
                return i
            i += 1
    return end


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
        end = i = _line_end(data, i, size)
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
            stop = _next(data, k, end, _BACKSLASHES, 255)
            at, k = _put(out, at, data, k, stop), stop
            if k == end:
                break
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
