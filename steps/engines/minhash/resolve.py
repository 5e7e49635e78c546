"""Which rows give way to which: equal words first, then near duplicates, every one compared exactly."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from steps.contracts.arrays import Numbers
from steps.engines.execution.threads import ordered
from steps.engines.minhash.signatures import Sets


@dataclass(frozen=True)
class Near:
    """Per set, in the order given: the kept set that it gives way to (-1: none), and their Jaccard (nan: none).

    compared: exact comparisons made. capped: sets that reached the limit of comparisons.
    """

    witness: Numbers
    jaccard: npt.NDArray[np.float64]
    compared: int
    capped: int


@dataclass(frozen=True)
class Claims:
    """What n sets' rows say, by which two that look alike are told apart. prompt, answered, plain: 64 bits each over
    the prompt (0: none), over the answer, and over the words, uint64, shape (n,). leads: members of the set that
    belong to the prompt, shape (n,).
    """

    prompt: npt.NDArray[np.uint64]
    answered: npt.NDArray[np.uint64]
    plain: npt.NDArray[np.uint64]
    leads: Numbers


_NO_CLAIMS = Claims(np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty(0, np.int64))


def first_of_equals(digests: npt.NDArray[np.uint64], order: Numbers) -> Numbers:
    """For each row of `order`, the place in `order` of the first row with the same digest (uint64, shape (n, 2))."""
    keys = digests[order]
    by_key = np.lexsort((keys[:, 1], keys[:, 0]))
    ordered = keys[by_key]
    new = np.concatenate(([True], (ordered[1:] != ordered[:-1]).any(axis=1))) if len(order) else np.empty(0, bool)
    out = np.empty(len(order), np.int64)
    # lexsort is stable, so the first of a run is the first in `order`.
    out[by_key] = by_key[new][np.cumsum(new) - 1] if len(order) else by_key
    return out


def near_duplicates(
    buckets: npt.NDArray[np.int32],
    counts: Numbers,
    sets: Sets,
    starts: Numbers,
    ends: Numbers,
    *,
    threshold: float,
    cap: int,
    kept_before: int = 0,
    claims: Claims | None = None,
) -> Near:
    """Go through n sets in order; keep each one unless a set kept before it has Jaccard >= threshold.

    buckets: shape (bands, n), see `bucket_numbers`; counts: buckets per band. Set i is sets[starts[i]:ends[i]]. The
    first `kept_before` sets are known to be kept. No chaining: a dropped set never causes another drop. Rows that make
    different `claims` (kernel.greedy) are no duplicates of each other.
    """
    from steps.engines.minhash.kernel import greedy

    n = buckets.shape[1]
    first = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=first[1:])
    witness, jaccard = np.full(n, -1, np.int64), np.full(n, np.nan)
    c = claims or _NO_CLAIMS
    compared, capped = greedy(
        buckets, first, kept_before, sets, starts, ends, threshold, cap, c.prompt, c.answered, c.plain, c.leads,
        witness, jaccard,
    )  # fmt: skip
    return Near(witness, jaccard, int(compared), int(capped))


def bucket_numbers(
    bands: npt.NDArray[np.uint32], absent: npt.NDArray[np.bool_] | None = None
) -> tuple[npt.NDArray[np.int32], Numbers]:
    """Bucket of each row in each band (-1 where it is alone), shape (bands, rows), and the number of buckets per band.

    `bands` has the same shape and is overwritten: the result lies in its memory. Where `absent` is true the row has
    no hash in that band.
    """
    from steps.engines.minhash.kernel import number_buckets

    numbers = bands.view(np.int32)
    counts = np.zeros(len(bands), np.int64)
    places = np.arange(bands.shape[1], dtype=np.uint64)

    def work(q: int) -> None:
        # Key and place in one number: sorting those is several times faster than an argsort of the keys.
        packed = bands[q].astype(np.uint64) << np.uint64(32) | places
        if absent is not None:
            packed = packed[~absent[q]]
            numbers[q] = -1
        packed.sort()
        keys, members = (packed >> np.uint64(32)).astype(np.uint32), packed.astype(np.uint32)
        counts[q] = number_buckets(keys, members, numbers[q])

    for _ in ordered(work, range(len(bands))):
        pass
    return numbers, counts
