"""SHA-256 of many short texts of one length, compiled; what `digests.MultisetDigest` adds up.

Self-contained, because numba's cache on disk notices changes in this file only.
"""

import math

import numpy as np
from numba import njit

# Texts that are hashed side by side: as many as fill a register of AVX-512 with 32-bit words.
_LANES = 16


def _roots(power: float, count: int) -> np.ndarray:  # type: ignore[type-arg]
    """The first 32 bits behind the point of the roots of the first primes (FIPS 180-4, 4.2.2 and 5.3.3)."""
    primes = [n for n in range(2, 312) if all(n % k for k in range(2, math.isqrt(n) + 1))][:count]
    return np.array([int(p**power % 1 * 2**32) for p in primes], np.uint32)


_K, _H = _roots(1 / 3, 64), _roots(1 / 2, 8)


@njit(forceinline=True)
def _turned(x, bits):  # type: ignore[no-untyped-def]
    return np.uint32(np.uint32(x >> np.uint32(bits)) | np.uint32(x << np.uint32(32 - bits)))


@njit(forceinline=True)
def _schedule(w):  # type: ignore[no-untyped-def]
    for t in range(16, 64):
        for lane in range(_LANES):
            x, y = w[t - 15, lane], w[t - 2, lane]
            s0 = np.uint32(_turned(x, 7) ^ _turned(x, 18) ^ np.uint32(x >> np.uint32(3)))
            s1 = np.uint32(_turned(y, 17) ^ _turned(y, 19) ^ np.uint32(y >> np.uint32(10)))
            w[t, lane] = np.uint32(w[t - 16, lane] + s0 + w[t - 7, lane] + s1)


@njit(forceinline=True)
def _rounds(w, a, e):  # type: ignore[no-untyped-def]
    """a, e: the variables of those names after each round, from row 4 on; those before are in rows 0 to 3."""
    for t in range(64):
        k = _K[t]
        for lane in range(_LANES):
            x, y = a[t + 3, lane], e[t + 3, lane]
            s1 = np.uint32(_turned(y, 6) ^ _turned(y, 11) ^ _turned(y, 25))
            choice = np.uint32((y & e[t + 2, lane]) ^ (~y & e[t + 1, lane]))
            first = np.uint32(e[t, lane] + s1 + choice + k + w[t, lane])
            s0 = np.uint32(_turned(x, 2) ^ _turned(x, 13) ^ _turned(x, 22))
            most = np.uint32((x & a[t + 2, lane]) ^ (x & a[t + 1, lane]) ^ (a[t + 2, lane] & a[t + 1, lane]))
            e[t + 4, lane] = np.uint32(a[t, lane] + first)
            a[t + 4, lane] = np.uint32(first + s0 + most)


@njit(nogil=True, cache=True)
def add_digests(data, width, end, sums):  # type: ignore[no-untyped-def]
    """Add the SHA-256 of each text data[width * i : width * (i + 1)] followed by `end` to `sums`.

    sums: uint64, shape (8,): of the digests as little-endian numbers, the 32-bit words added up each by itself.
    width + len(end) <= 55, for one block of 64 bytes; at most 2**32 texts.
    """
    count, size = data.shape[0] // width, width + end.shape[0]
    w = np.zeros((64, _LANES), np.uint32)
    a, e = np.empty((68, _LANES), np.uint32), np.empty((68, _LANES), np.uint32)
    block = np.zeros(64, np.uint8)
    block[width:size] = end
    block[size] = 0x80
    block[62], block[63] = 8 * size >> 8, 8 * size & 255
    for first in range(0, count, _LANES):
        here = min(_LANES, count - first)
        for lane in range(here):
            for k in range(width):
                block[k] = data[width * (first + lane) + k]
            for k in range(16):
                w[k, lane] = block[4 * k] << 24 | block[4 * k + 1] << 16 | block[4 * k + 2] << 8 | block[4 * k + 3]
        for k in range(4):
            a[k], e[k] = _H[3 - k], _H[7 - k]
        _schedule(w)
        _rounds(w, a, e)
        for k in range(8):
            v, h = a if k < 4 else e, _H[k]
            for lane in range(here):
                x = np.uint32(v[67 - k % 4, lane] + h)
                sums[k] += (x >> 24) | (x >> 8 & 0xFF00) | (x & 0xFF00) << 8 | (x & 255) << 24
