"""BLAKE2b of many texts at once, compiled: eight of them side by side, as wide as the processor's registers are.

What is written here equals what `contracts.digests.short_id` gives. Self-contained, because numba's cache on disk
notices changes in this file only.
"""

import numpy as np

from steps.engines.imports.compiler import njit

# Eight 64-bit words fill a register of AVX-512, two of AVX2, four of NEON.
LANES = 8
_BLOCK = 128
# Rows of the state, LANES words each: the eight of the hash, the 16 of the message, bytes so far, all ones at the end.
# One array holds them all, so that the compiler knows what overlaps.
_WORDS, _COUNT, _LAST, _ROWS = 8, 24, 25, 26
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


@njit(forceinline=True)
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


@njit(forceinline=True)
def _word(s, word, lane):  # type: ignore[no-untyped-def]
    return s[LANES * (_WORDS + word) + lane]


@njit(forceinline=True)
def _round(v, s, at, i0, i1, i2, i3, i4, i5, i6, i7, i8, i9, ia, ib, ic, id_, ie, if_):  # type: ignore[no-untyped-def]
    v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, va, vb, vc, vd, ve, vf = v
    v0, v4, v8, vc = _g(v0, v4, v8, vc, _word(s, i0, at), _word(s, i1, at))
    v1, v5, v9, vd = _g(v1, v5, v9, vd, _word(s, i2, at), _word(s, i3, at))
    v2, v6, va, ve = _g(v2, v6, va, ve, _word(s, i4, at), _word(s, i5, at))
    v3, v7, vb, vf = _g(v3, v7, vb, vf, _word(s, i6, at), _word(s, i7, at))
    v0, v5, va, vf = _g(v0, v5, va, vf, _word(s, i8, at), _word(s, i9, at))
    v1, v6, vb, vc = _g(v1, v6, vb, vc, _word(s, ia, at), _word(s, ib, at))
    v2, v7, v8, vd = _g(v2, v7, v8, vd, _word(s, ic, at), _word(s, id_, at))
    v3, v4, v9, ve = _g(v3, v4, v9, ve, _word(s, ie, at), _word(s, if_, at))
    return v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, va, vb, vc, vd, ve, vf


@njit(nogil=True, cache=True)
def _compress(s):  # type: ignore[no-untyped-def]
    """One block of each lane into its hash (RFC 7693)."""
    for lane in range(LANES):
        h0, h1, h2, h3 = s[lane], s[LANES + lane], s[2 * LANES + lane], s[3 * LANES + lane]
        h4, h5, h6, h7 = s[4 * LANES + lane], s[5 * LANES + lane], s[6 * LANES + lane], s[7 * LANES + lane]
        v = (
            h0, h1, h2, h3, h4, h5, h6, h7, _IV[0], _IV[1], _IV[2], _IV[3],
            _IV[4] ^ s[_COUNT * LANES + lane], _IV[5], _IV[6] ^ s[_LAST * LANES + lane], _IV[7],
        )  # fmt: skip
        v = _round(v, s, lane, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
        v = _round(v, s, lane, 14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3)
        v = _round(v, s, lane, 11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4)
        v = _round(v, s, lane, 7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8)
        v = _round(v, s, lane, 9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13)
        v = _round(v, s, lane, 2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9)
        v = _round(v, s, lane, 12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11)
        v = _round(v, s, lane, 13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10)
        v = _round(v, s, lane, 6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5)
        v = _round(v, s, lane, 10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0)
        v = _round(v, s, lane, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
        v = _round(v, s, lane, 14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3)
        s[lane], s[LANES + lane] = h0 ^ v[0] ^ v[8], h1 ^ v[1] ^ v[9]
        s[2 * LANES + lane], s[3 * LANES + lane] = h2 ^ v[2] ^ v[10], h3 ^ v[3] ^ v[11]
        s[4 * LANES + lane], s[5 * LANES + lane] = h4 ^ v[4] ^ v[12], h5 ^ v[5] ^ v[13]
        s[6 * LANES + lane], s[7 * LANES + lane] = h6 ^ v[6] ^ v[14], h7 ^ v[7] ^ v[15]


@njit(forceinline=True)
def _put(buffer, at, data, start, end):  # type: ignore[no-untyped-def]
    # Unsigned numbers needn't be checked for negative ones: then whole registers are copied.
    to, of = np.uint64(at), np.uint64(start)
    for k in range(np.uint64(end - start)):
        buffer[to + k] = data[of + k]
    return at + end - start


@njit(forceinline=True)
def _put_hex(ids, at, first, second):  # type: ignore[no-untyped-def]
    for k in range(16):
        word = first if k < 8 else second
        b = (word >> np.uint64(8 * (k & 7))) & np.uint64(255)
        ids[at + 2 * k] = _HEX[b >> np.uint64(4)]
        ids[at + 2 * k + 1] = _HEX[b & np.uint64(15)]


@njit(nogil=True, cache=True)
def hashes(heads, head_ends, data, starts, ends, words, ids):  # type: ignore[no-untyped-def]
    """32 hex characters each: BLAKE2b of heads[head_ends[i]:head_ends[i + 1]] and data[starts[i]:ends[i]].

    `words`: uint64 scratch, for each of LANES lanes the longest of them and 128 bytes more.
    """
    buffer = words.view(np.uint8)
    room = words.shape[0] // LANES
    s = np.zeros(_ROWS * LANES, np.uint64)
    rows = np.full(LANES, -1, np.int64)
    at, sizes = np.zeros(LANES, np.int64), np.zeros(LANES, np.int64)
    count = starts.shape[0]
    begun = done = 0
    while done < count:
        for lane in range(LANES):
            if rows[lane] < 0:
                if begun == count:
                    continue
                i, first = begun, 8 * room * lane
                begun += 1
                end = _put(buffer, first, heads, head_ends[i], head_ends[i + 1])
                end = _put(buffer, end, data, starts[i], ends[i])
                buffer[end : end + _BLOCK] = 0
                rows[lane], at[lane], sizes[lane] = i, 0, end - first
                for k in range(8):
                    s[LANES * k + lane] = _IV[k]
                s[lane] = _FIRST
            first = room * lane + (at[lane] >> 3)
            for k in range(16):
                s[LANES * (_WORDS + k) + lane] = words[first + k]
            at[lane] += _BLOCK
            last = at[lane] >= sizes[lane]
            s[LANES * _COUNT + lane] = sizes[lane] if last else at[lane]
            s[LANES * _LAST + lane] = _ALL if last else np.uint64(0)
        _compress(s)
        for lane in range(LANES):
            if rows[lane] >= 0 and at[lane] >= sizes[lane]:
                _put_hex(ids, 32 * rows[lane], s[lane], s[LANES + lane])
                rows[lane] = -1
                done += 1
