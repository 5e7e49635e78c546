"""Which held-out rows hold an n-gram, and how many train rows do."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from steps.contracts.arrays import Numbers
from steps.engines.text.columns import Words

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Ngrams:
    """n-gram hashes of some rows in reading order; row i's are values[offsets[i]:offsets[i + 1]]."""

    values: Hashes
    offsets: Numbers


@dataclass(frozen=True)
class Overlaps:
    """Per row: the held-out row that it overlaps most (-1: none); score, share, shared and the longest run of matched
    n-grams (start and length, in n-grams) as `kernel.overlaps` says. Shape (rows,) each.
    """

    best: Numbers
    score: npt.NDArray[np.float64]
    share: npt.NDArray[np.float64]
    shared: Numbers
    start: Numbers
    length: Numbers


def ngrams_of(words: Words, n: int) -> Ngrams:
    """Every run of n words of each row; a row of fewer words has one, of all its words."""
    from steps.engines.text.kernel import shingle_hashes

    rows = len(words.offsets) - 1
    values = np.empty(len(words.values), np.uint64)
    offsets = shingle_hashes(words.values, words.offsets, np.full(rows, n, np.int64), np.zeros(rows, np.int64), values)
    return Ngrams(values[: offsets[-1]], offsets)


class NgramIndex:
    """Inverted index over the distinct n-grams of held-out rows; about 55 bytes per held-out n-gram."""

    def __init__(self, grams: Ngrams) -> None:
        """`grams`: of each held-out row, in the order in which they are numbered."""
        from steps.leakcheck.kernel import hash_table

        rows = len(grams.offsets) - 1
        owners = np.repeat(np.arange(rows, dtype=np.int32), np.diff(grams.offsets))
        order = np.lexsort((owners, grams.values))
        values, owners = grams.values[order], owners[order]
        new_gram = np.concatenate(([True], values[1:] != values[:-1])) if len(values) else np.empty(0, bool)
        new = new_gram | np.concatenate(([True], owners[1:] != owners[:-1])) if len(values) else new_gram
        values, self._owners = values[new], owners[new]
        first = np.flatnonzero(np.concatenate(([True], values[1:] != values[:-1]))) if len(values) else np.empty(0, int)
        self._grams = values[first]
        self._firsts = np.append(first, len(values)).astype(np.int64)
        self._bits = max(len(self._grams).bit_length() + 1, 4)
        self._slots = hash_table(self._grams, self._bits)
        self._specific = np.ones(len(self._grams), bool)
        self._sizes = np.bincount(self._owners, minlength=rows).astype(np.int64)
        self._specific_counts = self._sizes
        places = np.repeat(np.arange(len(self._grams), dtype=np.int32), np.diff(self._firsts))
        self._held = places[np.argsort(self._owners, kind="stable")]
        self._held_firsts = np.concatenate(([0], np.cumsum(self._sizes))).astype(np.int64)
        self.train_rows = np.zeros(len(self._grams), np.int64)

    def count(self, grams: Ngrams, wanted: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Count the wanted train rows' n-grams. Returns which of them share any with a held-out row, shape (rows,)."""
        from steps.leakcheck.kernel import count_rows

        touched = np.zeros(len(wanted), bool)
        count_rows(grams.values, grams.offsets, self._slots, self._grams, self._bits, wanted, self.train_rows, touched)
        return touched

    def ignore_boilerplate(self, train_limit: int, held_out_limit: int) -> int:
        """From now on ignore n-grams in more train rows, or in more held-out rows, than that. Returns how many."""
        held_out_rows = np.diff(self._firsts)
        self._specific = (self.train_rows <= train_limit) & (held_out_rows <= held_out_limit)
        owned = self._owners[np.repeat(self._specific, held_out_rows)]
        self._specific_counts = np.bincount(owned, minlength=len(self._sizes)).astype(np.int64)
        return int((~self._specific).sum())

    def overlaps(self, grams: Ngrams, wanted: npt.NDArray[np.bool_], least: float, *, exact: bool) -> Overlaps:
        """What the wanted rows share with held-out rows, beyond boilerplate; see `kernel.overlaps`."""
        from steps.leakcheck.kernel import overlaps

        n = len(wanted)
        found = Overlaps(
            np.full(n, -1, np.int64), np.zeros(n), np.zeros(n),
            np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64),
        )  # fmt: skip
        overlaps(
            grams.values, grams.offsets, self._slots, self._grams, self._bits, self._owners, self._firsts,
            self._specific, self._specific_counts, self._held, self._held_firsts, wanted, least, exact,
            found.best, found.score, found.share, found.shared, found.start, found.length,
        )  # fmt: skip
        return found
