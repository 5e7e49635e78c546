"""How many bands of how many signature values: two sets of Jaccard s meet with probability 1 - (1 - s^rows)^bands.

Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", section 3.4.2. What meets is compared exactly, so that a
needless meeting costs time only, and a missed one a duplicate.
"""

import functools
from dataclasses import dataclass

import numpy as np

MOST_BANDS, MOST_ROWS = 256, 32
# Chosen, below the 0.1 % that may be missed: so that 0.7 gives 25 bands of 5, which miss 0.079 %.
_MISSES = 8e-4
# Chosen, for what a scheme costs: a set is compared with 100,000 others that have nothing to do with it, each alike by
# 0.1, and a comparison costs as much as a signature value.
_UNRELATED, _OTHERS = 0.1, 100_000
# Points at which the mean over Jaccards is taken; its error is below 1e-6 of the mean for all that is asked here.
_POINTS = 2_000


@dataclass(frozen=True)
class Banding:
    """A number of bands, and of signature values per band."""

    bands: int
    rows: int

    def meets(self, jaccard: float) -> float:
        """Probability that two sets of this Jaccard similarity meet in some band."""
        return 1.0 - float((1.0 - jaccard**self.rows) ** self.bands)

    def recall(self, threshold: float) -> float:
        """Share of the pairs at or above the threshold that meet, where every Jaccard from it to 1 is equally frequent.

        An assumption, and a cautious one: in real data most copies are much more alike than the threshold.
        """
        if threshold >= 1.0:
            return self.meets(1.0)
        jaccards = threshold + (np.arange(_POINTS) + 0.5) * ((1.0 - threshold) / _POINTS)
        return 1.0 - float(np.mean((1.0 - jaccards**self.rows) ** self.bands))

    @property
    def cost(self) -> float:
        """Signature values per set, and comparisons with sets that have nothing to do with it."""
        return self.bands * self.rows + _OTHERS * self.meets(_UNRELATED)


@functools.lru_cache(maxsize=64)
def banding(threshold: float, bands: int | None = None, rows: int | None = None) -> Banding:
    """The cheapest banding whose expected misses at or above the threshold stay under 0.1 %; what is given stays.

    Where none within MOST_BANDS and MOST_ROWS does, the one that misses least.
    """
    per_band = range(1, MOST_ROWS + 1) if rows is None else (rows,)
    fewest = [Banding(bands or _fewest_bands(threshold, r), r) for r in per_band]
    enough = [b for b in fewest if 1.0 - b.recall(threshold) <= _MISSES]
    return min(enough, key=lambda b: b.cost) if enough else max(fewest, key=lambda b: b.recall(threshold))


def _fewest_bands(threshold: float, rows: int) -> int:
    """The fewest bands that miss little enough; MOST_BANDS where they don't."""
    low, high = 1, MOST_BANDS
    while low < high:
        middle = (low + high) // 2
        if 1.0 - Banding(middle, rows).recall(threshold) <= _MISSES:
            high = middle
        else:
            low = middle + 1
    return low
