"""Sampling and mixing by content hash: which rows stay depends on their content, the seed and the counts only."""

import hashlib
from array import array
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

_TOP = float(1 << 64)


def hash64(seed: int, content_id: str) -> int:
    """64-bit hash of a content id under a seed, uniform over content."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{content_id}".encode(), digest_size=8).digest(), "big")


def sampled(value: int, share: float) -> bool:
    """Whether a row with this hash is within the share (0 to 1). A larger share keeps all that a smaller one keeps."""
    return value / _TOP < share


class MixPlan:
    """Hashes of the rows in the order they were written, 16 bytes a row, until `keep` chooses."""

    def __init__(self) -> None:
        self._source = array("q")
        self._hash = array("Q")
        self._tie = array("Q")

    def add(self, source: int, value: int, record_id: str) -> None:
        """Note one row. Rows of equal content are told apart by their record_id."""
        self._source.append(source)
        self._hash.append(value)
        self._tie.append(int(record_id[:16], 16))

    def keep(self, weights: Sequence[float]) -> npt.NDArray[np.bool_]:
        """Which rows stay, shape (rows,): of each source as many as the weights allow, smallest hash first."""
        source = np.frombuffer(self._source, np.int64) if self._source else np.empty(0, np.int64)
        value, tie = (np.frombuffer(a, np.uint64) if a else np.empty(0, np.uint64) for a in (self._hash, self._tie))
        counts = {i: int((source == i).sum()) for i in range(len(weights))}
        wanted = quotas(counts, dict(enumerate(weights)))
        mask = np.zeros(len(source), bool)
        for index, quota in wanted.items():
            here = np.flatnonzero(source == index)
            order = np.lexsort((tie[here], value[here]))
            mask[here[order[:quota]]] = True
        return mask


def quotas(counts: Mapping[int, int], weights: Mapping[int, float]) -> dict[int, int]:
    """Rows to take per source so that they stand to each other as the weights do, none repeated, as many as possible.

    The source that is shortest for its weight gives all its rows; the others give the nearest whole number.
    """
    scale = min(counts[i] / weights[i] for i in counts)
    return {i: min(counts[i], round(scale * weights[i])) for i in counts}
