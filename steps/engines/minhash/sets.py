"""Shingle sets on disk, so that exact comparison needs memory for one row at a time."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from steps.contracts.storage import writing
from steps.engines.text.shingles import Hashes


class SpilledSets:
    """Sorted sets of 64-bit hashes, appended once and then read by number; 8 bytes per member in a temporary file.

    A context manager: the file is gone afterwards.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("wb")
        self._ends = [0]
        self._values: Hashes | None = None

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, members: Hashes) -> None:
        """Add one set (sorted, distinct)."""
        with writing(self.path):
            self._file.write(members.tobytes())
        self._ends.append(self._ends[-1] + len(members))

    def freeze(self) -> None:
        """End of writing, beginning of reading."""
        with writing(self.path):
            self._file.close()
        size = self._ends[-1]
        # A plain view: slicing a memmap itself costs several microseconds.
        stored = np.memmap(self.path, np.uint64, "r", shape=(size,)) if size else np.empty(0, np.uint64)
        self._values = stored.view(np.ndarray)
        self._offsets = np.array(self._ends, np.int64)

    def size(self, i: int | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Number of members of set i, or of several sets."""
        return np.asarray(self._offsets[np.asarray(i) + 1] - self._offsets[np.asarray(i)])

    def get(self, i: int) -> Hashes:
        """Members of set i, sorted."""
        assert self._values is not None, "freeze() comes before get()"
        return self._values[self._offsets[i] : self._offsets[i + 1]]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._values = None
        self._file.close()
        self.path.unlink(missing_ok=True)


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
