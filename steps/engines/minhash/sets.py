"""Exact similarity of sets of hashes."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]


def jaccard(a: Hashes, others: Sequence[Hashes]) -> npt.NDArray[np.float64]:
    """Exact Jaccard similarity of one sorted set with each of several; two empty sets are equal (1.0)."""
    sizes = np.array([len(o) for o in others], np.int64)
    if not len(a):
        return np.asarray(sizes == 0, np.float64)
    pool = np.concatenate(others) if len(others) else np.empty(0, np.uint64)
    found = a[np.minimum(np.searchsorted(a, pool), len(a) - 1)] == pool
    sums = np.concatenate([[0], np.cumsum(found)])
    ends = np.cumsum(sizes)
    shared = sums[ends] - sums[ends - sizes]
    return np.asarray(shared / (len(a) + sizes - shared), np.float64)
