"""The compiled part of the leak check. Self-contained, because numba's cache on disk notices changes in this file only.

A gram index is: `slots` (int32, a power of two long, -1 empty): hash table with linear probing of places in `grams`
(uint64, distinct); `owners[offsets[g]:offsets[g + 1]]`: the held-out rows that have gram g; `specific`: grams that
are no boilerplate; `own`: how many specific grams each held-out row has; `held[held_firsts[h]:held_firsts[h + 1]]`: all
grams of held-out row h.
"""

import numpy as np

from steps.engines.imports.compiler import njit

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@njit(inline="always")
def _place(value, slots, grams, shift):  # type: ignore[no-untyped-def]
    mask = slots.shape[0] - 1
    at = np.int64((value * _MULTIPLIER) >> shift)
    while slots[at] >= 0 and grams[slots[at]] != value:
        at = (at + 1) & mask
    return slots[at]


@njit(nogil=True, cache=True)
def hash_table(grams, bits):  # type: ignore[no-untyped-def]
    """Slots of 2**bits (more than len(grams)) for distinct grams."""
    slots = np.full(1 << bits, -1, np.int32)
    shift, mask = np.uint64(64 - bits), (1 << bits) - 1
    for g in range(grams.shape[0]):
        at = np.int64((grams[g] * _MULTIPLIER) >> shift)
        while slots[at] >= 0:
            at = (at + 1) & mask
        slots[at] = g
    return slots


@njit(nogil=True, cache=True)
def count_rows(values, offsets, slots, grams, bits, wanted, counts, touched):  # type: ignore[no-untyped-def]
    """Add the wanted rows to `counts` (int64, per gram: rows that have it); touched[row]: it shares any."""
    shift = np.uint64(64 - bits)
    last = np.full(grams.shape[0], -1, np.int32)
    for row in range(offsets.shape[0] - 1):
        if not wanted[row]:
            continue
        for i in range(offsets[row], offsets[row + 1]):
            g = _place(values[i], slots, grams, shift)
            if g >= 0:
                touched[row] = True
                if last[g] != row:
                    last[g] = row
                    counts[g] += 1


@njit(nogil=True, cache=True)
def overlaps(  # type: ignore[no-untyped-def]
    values, offsets, slots, grams, bits, owners, firsts, specific, specific_counts, held, held_firsts, wanted, least,
    exact, best, score, share, shared, start, length,
):  # fmt: skip
    """The held-out row that each wanted row overlaps most, into `best` (-1: none reaches `least`).

    share: of the held-out row's specific grams, those found. With `exact` the score is the Jaccard similarity of all
    grams, must reach `least` too, and the highest wins; else it is the share. The first of equals wins. shared: how
    many of its (specific) grams; start, length: the longest run of them in the row, in grams.
    """
    shift = np.uint64(64 - bits)
    held_out = specific_counts.shape[0]
    seen = np.full(grams.shape[0], -1, np.int32)
    touched = np.full(held_out, -1, np.int32)
    common, touched_list = np.zeros(held_out, np.int32), np.empty(held_out, np.int32)
    for row in range(offsets.shape[0] - 1):
        best[row] = -1
        if not wanted[row]:
            continue
        m = 0
        for i in range(offsets[row], offsets[row + 1]):
            g = _place(values[i], slots, grams, shift)
            if g < 0 or seen[g] == row:
                continue
            seen[g] = row
            if specific[g]:
                for k in range(firsts[g], firsts[g + 1]):
                    h = owners[k]
                    if touched[h] != row:
                        touched[h], common[h] = row, 0
                        touched_list[m] = h
                        m += 1
                    common[h] += 1
        likely = 0
        for j in range(m):
            h = touched_list[j]
            if common[h] >= least * specific_counts[h] - 1e-9:
                touched_list[likely] = h
                likely += 1
        if not likely:
            continue
        distinct = np.unique(values[offsets[row] : offsets[row + 1]]).shape[0]
        for j in range(likely):
            h = touched_list[j]
            value = common[h] / specific_counts[h]
            if exact:
                total, size = 0, held_firsts[h + 1] - held_firsts[h]
                for k in range(held_firsts[h], held_firsts[h + 1]):
                    total += seen[held[k]] == row
                value = total / (distinct + size - total)
                if value < least - 1e-9:
                    continue
            if best[row] < 0 or value > score[row] or (value == score[row] and h < best[row]):
                best[row], score[row] = h, value
        h = best[row]
        if h < 0:
            continue
        share[row], shared[row] = common[h] / specific_counts[h], common[h]
        grams_of_row = values[offsets[row] : offsets[row + 1]]
        start[row], length[row] = _longest_run(grams_of_row, h, slots, grams, shift, owners, firsts, specific)


@njit(nogil=True, cache=True)
def _longest_run(values, held, slots, grams, shift, owners, firsts, specific):  # type: ignore[no-untyped-def]
    """(start, length) of the longest run of grams that are specific and the held-out row's; the first of equals."""
    best_start, best_length, run = 0, 0, 0
    for i in range(values.shape[0]):
        g = _place(values[i], slots, grams, shift)
        hit = False
        if g >= 0 and specific[g]:
            for k in range(firsts[g], firsts[g + 1]):
                hit |= owners[k] == held
        run = run + 1 if hit else 0
        if run > best_length:
            best_start, best_length = i - run + 1, run
    return best_start, best_length
