"""Which held-out rows hold an n-gram, and how many train rows do."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from steps.engines.text.shingles import Hashes

Numbers = npt.NDArray[np.int64]


class GramIndex:
    """Inverted index over the distinct n-grams of held-out rows; about 40 bytes per held-out n-gram."""

    def __init__(self, sets: Sequence[Hashes]) -> None:
        """`sets`: sorted distinct hashes of each held-out row."""
        self.sets = sets
        sizes = np.array([len(s) for s in sets], np.int64)
        values = np.concatenate(sets) if sets else np.empty(0, np.uint64)
        order = np.argsort(values, kind="stable")
        self.grams, first = np.unique(values[order], return_index=True)
        self._owners = np.repeat(np.arange(len(sets), dtype=np.int32), sizes)[order]
        self._offsets = np.append(first, len(values)).astype(np.int64)
        self.train_rows = np.zeros(len(self.grams), np.int64)
        self._specific = np.ones(len(self.grams), bool)
        self._specific_size = sizes

    def places(self, members: Hashes) -> Numbers:
        """Places in `grams` of those members that are there."""
        if not len(self.grams):
            return np.empty(0, np.int64)
        at = np.minimum(np.searchsorted(self.grams, members), len(self.grams) - 1)
        return np.asarray(at[self.grams[at] == members], np.int64)

    def count(self, members: Hashes) -> bool:
        """Count one train row's distinct n-grams. Returns whether any of them is held out."""
        at = self.places(members)
        self.train_rows[at] += 1
        return len(at) > 0

    def ignore_boilerplate(self, train_limit: int, held_out_limit: int) -> int:
        """From now on ignore n-grams in more train rows, or in more held-out rows, than that. Returns how many."""
        held_out_rows = np.diff(self._offsets)
        self._specific = (self.train_rows <= train_limit) & (held_out_rows <= held_out_limit)
        owned = self._owners[np.repeat(self._specific, held_out_rows)]
        self._specific_size = np.bincount(owned, minlength=len(self.sets)).astype(np.int64)
        return int((~self._specific).sum())

    def is_specific(self, members: Hashes) -> npt.NDArray[np.bool_]:
        """Which members are held out and not boilerplate; same shape."""
        out = np.zeros(len(members), bool)
        if len(self.grams):
            at = np.minimum(np.searchsorted(self.grams, members), len(self.grams) - 1)
            out = (self.grams[at] == members) & self._specific[at]
        return out

    def overlaps(self, members: Hashes) -> tuple[Numbers, Numbers, npt.NDArray[np.float64]]:
        """Held-out rows that share specific n-grams with `members` (sorted, distinct).

        Returns:
            their numbers, ascending; how many specific n-grams each shares; and which share of its own specific
            n-grams that is, above 0 to 1. Shape (k,) each.
        """
        at = self.places(members)
        at = at[self._specific[at]]
        runs = [self._owners[self._offsets[i] : self._offsets[i + 1]] for i in at.tolist()]
        if not runs:
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64)
        rows, shared = np.unique(np.concatenate(runs), return_counts=True)
        return rows.astype(np.int64), shared.astype(np.int64), shared / self._specific_size[rows]
