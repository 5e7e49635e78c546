"""The compiled part of near-duplicate search: shingle sets, signatures, bands, buckets, exact comparison.

Self-contained, because numba's cache on disk notices changes in this file only.
"""

import numpy as np

from steps.engines.imports.compiler import njit

_FOLD = np.uint64(0x9E3779B97F4A7C15)
_S32 = np.uint64(32)
_S29 = np.uint64(29)
_HASH = np.uint32(0x9E3779B1)
_EMPTY = np.uint32(0xFFFFFFFF)
# Constants of MurmurHash3's 32-bit finalizer (Appleby 2011), which datasketch applies to every hash value.
_FMIX_1, _FMIX_2 = np.uint32(0x85EBCA6B), np.uint32(0xC2B2AE35)
_F16, _F13 = np.uint32(16), np.uint32(13)


@njit(inline="always")
def _bits(members):  # type: ignore[no-untyped-def]
    """Size, as a power of two, of a hash table that these members fill to half at most."""
    bits = 4
    while (1 << bits) < 2 * members:
        bits += 1
    return bits


@njit(nogil=True, cache=True)
def distinct_sets(shingles, offsets, leads, out):  # type: ignore[no-untyped-def]
    """Upper 32 bits of each row's shingle hashes without repeats, in order of first occurrence, into `out` (uint32).

    leads[i], a number of row i's first shingles, becomes the number of different ones among them. Returns the new
    offsets.
    """
    n = offsets.shape[0] - 1
    result = np.zeros(n + 1, np.int64)
    largest = 1
    for row in range(n):
        largest = max(largest, offsets[row + 1] - offsets[row])
    table = np.zeros(1 << _bits(largest), np.uint32)
    stamp = np.full(1 << _bits(largest), -1, np.int32)
    m = 0
    for row in range(n):
        first, last = offsets[row], offsets[row + 1]
        # A small table for a small row, so that it stays in the fastest cache.
        bits = _bits(last - first)
        mask, shift = (1 << bits) - 1, np.uint32(32 - bits)
        begin, stop = m, first + leads[row]
        for i in range(first, last):
            if i == stop:
                leads[row] = m - begin
            value = np.uint32(shingles[i] >> _S32)
            at = np.int64(np.uint32(value * _HASH) >> shift)
            while stamp[at] == row and table[at] != value:
                at = (at + 1) & mask
            if stamp[at] != row:
                stamp[at] = row
                table[at] = value
                out[m] = value
                m += 1
        if stop >= last:
            leads[row] = m - begin
        result[row + 1] = m
    return result


@njit(nogil=True, cache=True)
def signatures(sets, offsets, a, b, out):  # type: ignore[no-untyped-def]
    """MinHash signature of each set into `out` (uint32, shape (n, len(a))): min over the set of a * h + b mod 2**32.

    len(a) is a multiple of 16 (surplus columns mean nothing), so that all of it is vector code.
    """
    k = a.shape[0]
    for row in range(offsets.shape[0] - 1):
        sketch = out[row]
        for j in range(k):
            sketch[j] = _EMPTY
        i, last = offsets[row], offsets[row + 1]
        while i + 4 <= last:
            h0, h1, h2, h3 = _fmix(sets[i]), _fmix(sets[i + 1]), _fmix(sets[i + 2]), _fmix(sets[i + 3])
            for j in range(k):
                x = min(np.uint32(a[j] * h0 + b[j]), np.uint32(a[j] * h1 + b[j]))
                y = min(np.uint32(a[j] * h2 + b[j]), np.uint32(a[j] * h3 + b[j]))
                sketch[j] = min(sketch[j], x, y)
            i += 4
        while i < last:
            h0 = _fmix(sets[i])
            for j in range(k):
                sketch[j] = min(sketch[j], np.uint32(a[j] * h0 + b[j]))
            i += 1


@njit(inline="always")
def _fmix(h):  # type: ignore[no-untyped-def]
    h = np.uint32((h ^ (h >> _F16)) * _FMIX_1)
    h = np.uint32((h ^ (h >> _F13)) * _FMIX_2)
    return np.uint32(h ^ (h >> _F16))


@njit(nogil=True, cache=True)
def band_hashes(signature, bands, rows, out):  # type: ignore[no-untyped-def]
    """One 32-bit hash per band of `rows` signature values into `out` (uint32, shape (n, bands))."""
    for row in range(signature.shape[0]):
        for q in range(bands):
            h = _FOLD * np.uint64(q + 1)
            for j in range(rows):
                h = (h ^ np.uint64(signature[row, q * rows + j])) * _FOLD
                h ^= h >> _S29
            out[row, q] = np.uint32(h >> _S32)


@njit(nogil=True, cache=True)
def number_buckets(keys, members, out):  # type: ignore[no-untyped-def]
    """Bucket of each member of one band; `keys` (uint32, ascending) belongs to `members`.

    `out` (int32): number of the bucket, from 0, where at least two members share a key, else -1. Returns how many.
    """
    count = 0
    i, n = 0, keys.shape[0]
    while i < n:
        j = i + 1
        while j < n and keys[j] == keys[i]:
            j += 1
        number = np.int32(-1)
        if j - i > 1:
            number = np.int32(count)
            count += 1
        for t in range(i, j):
            out[members[t]] = number
        i = j
    return count


@njit(inline="always")
def _fill(members, owner, table, stamp, bits):  # type: ignore[no-untyped-def]
    """Put distinct members into a hash table with linear probing; slots with another stamp are empty."""
    mask, shift = (1 << bits) - 1, np.uint32(32 - bits)
    for t in range(members.shape[0]):
        at = np.int64(np.uint32(members[t] * _HASH) >> shift)
        while stamp[at] == owner:
            at = (at + 1) & mask
        stamp[at], table[at] = owner, members[t]


@njit(inline="always")
def _shared(members, owner, table, stamp, bits):  # type: ignore[no-untyped-def]
    """How many of the members are in the table."""
    mask, shift = (1 << bits) - 1, np.uint32(32 - bits)
    shared = 0
    for t in range(members.shape[0]):
        value = members[t]
        at = np.int64(np.uint32(value * _HASH) >> shift)
        while stamp[at] == owner and table[at] != value:
            at = (at + 1) & mask
        shared += stamp[at] == owner
    return shared


@njit(inline="always")
def _opposed(i, other, shared, union, threshold, prompt, answered, plain, leads):  # type: ignore[no-untyped-def]
    """Whether two sets that look alike are of rows that say different things.

    Rows of the same words whose answers differ (in their symbols), and rows that answer one prompt by sets that are no
    near duplicates without what they share with the prompt.
    """
    if prompt.shape[0] == 0 or not prompt[i] or not prompt[other] or answered[i] == answered[other]:
        return False
    if plain[i] == plain[other]:
        return True
    if prompt[i] != prompt[other]:
        return False
    return shared - leads[i] < threshold * (union - leads[i]) - 1e-9 or union == leads[i]


@njit(nogil=True, cache=True)
def greedy(  # type: ignore[no-untyped-def]
    buckets,
    first_bucket,
    kept_before,
    sets,
    starts,
    ends,
    threshold,
    cap,
    prompt,
    answered,
    plain,
    leads,
    witness,
    jaccard,
):
    """Keep each of n sets, in the order given, unless one kept before it has Jaccard >= threshold.

    buckets: int32, shape (bands, n), -1 for none; band q's numbers start at first_bucket[q]. The first
    `kept_before` sets are kept unasked. Set i is sets[starts[i]:ends[i]], without repeats. A set meets the kept ones of
    its buckets, the latest first, until one is near enough or `cap` of them were compared.

    prompt, answered, plain: uint64, shape (n,), digests of a row's prompt (0: it has none), of its answer, and of its
    words; leads: int64, how many of its set belong to the prompt, which come first. All of no rows: nobody asks.

    `witness` (int64, -1 for none) and `jaccard` (float64) get the results. Returns (comparisons, sets at the cap).
    """
    bands, n = buckets.shape
    head = np.full(first_bucket[bands], -1, np.int32)
    links = 0
    for q in range(bands):
        for i in range(n):
            links += buckets[q, i] >= 0
    after, owner = np.empty(links, np.int32), np.empty(links, np.int32)
    compared_with = np.full(n, -1, np.int32)
    largest = 1
    for i in range(n):
        largest = max(largest, ends[i] - starts[i])
    table, stamp = np.empty(1 << _bits(largest), np.uint32), np.full(1 << _bits(largest), -1, np.int32)
    link, compared, capped = 0, 0, 0
    for i in range(n):
        size = ends[i] - starts[i]
        comparisons, bits, found = 0, 0, False
        for q in range(bands):
            if buckets[q, i] < 0 or i < kept_before or found:
                continue
            x = head[first_bucket[q] + buckets[q, i]]
            while x >= 0:
                other = owner[x]
                x = after[x]
                if compared_with[other] == i:
                    continue
                compared_with[other] = i
                other_size = ends[other] - starts[other]
                if min(size, other_size) < threshold * max(size, other_size) - 1e-9:
                    continue
                if comparisons == cap:
                    capped += 1
                    comparisons += 1
                    break
                if not bits:
                    bits = _bits(size)
                    _fill(sets[starts[i] : ends[i]], i, table, stamp, bits)
                comparisons += 1
                compared += 1
                shared = _shared(sets[starts[other] : ends[other]], i, table, stamp, bits)
                union = size + other_size - shared
                # Two sets of nothing have nothing in common: their rows' words are equal, or their kinds differ.
                score = shared / union if union else 0.0
                if score >= threshold - 1e-9 and not _opposed(
                    i, other, shared, union, threshold, prompt, answered, plain, leads
                ):
                    witness[i], jaccard[i] = other, score
                    found = True
                    break
            if comparisons > cap:
                break
        if not found:
            for q in range(bands):
                if buckets[q, i] >= 0:
                    bucket = first_bucket[q] + buckets[q, i]
                    after[link], owner[link], head[bucket] = head[bucket], i, link
                    link += 1
    return compared, capped
