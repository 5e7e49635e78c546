"""Greedy choice of survivors: a row goes only if a kept row is proven similar enough."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from steps.dedup.config import DedupConfig
from steps.engines.minhash.sets import SpilledSets, jaccard
from steps.engines.minhash.signatures import BandHashes, buckets
from steps.engines.progress.progress import track


@dataclass(frozen=True)
class NearDuplicates:
    """Per token stream: the kept stream that it gives way to (-1: none), and their exact Jaccard (nan: none).

    compared: exact comparisons made. capped: streams for which some candidate was left uncompared.
    """

    witness: npt.NDArray[np.int64]
    jaccard: npt.NDArray[np.float64]
    compared: int
    capped: int


def near_duplicates(
    bands: BandHashes, order: npt.NDArray[np.int64], sets: SpilledSets, config: DedupConfig
) -> NearDuplicates:
    """Go through the streams in `order`; keep each one unless a stream kept before it has Jaccard >= threshold.

    No chaining: a dropped stream never causes another drop. `order` may leave streams out (they are never kept).
    """
    search = _Search(len(bands), sets, config)
    numbers = buckets(bands[order]) if len(order) else np.empty((0, 0), np.int32)
    for place in track(np.flatnonzero((numbers >= 0).any(axis=1)), "dedup: comparing", unit="candidates"):
        mine = numbers[place]
        search.visit(int(order[place]), mine[mine >= 0].tolist())
    return NearDuplicates(search.witness, search.jaccard, search.compared, search.capped)


class _Search:
    def __init__(self, streams: int, sets: SpilledSets, config: DedupConfig) -> None:
        self.sets, self.threshold, self.cap = sets, config.threshold, config.max_comparisons
        self.witness = np.full(streams, -1, np.int64)
        self.jaccard = np.full(streams, np.nan)
        self.compared = self.capped = 0
        # Kept streams per bucket, earliest first; no longer than the cap, so that one template stays linear.
        self._kept: dict[int, list[int]] = {}
        self._overfull: set[int] = set()

    def visit(self, stream: int, mine: list[int]) -> None:
        """Decide on one stream that lies in the buckets `mine`."""
        candidates = self._candidates(stream, mine)
        if candidates:
            self.compared += len(candidates)
            exact = jaccard(self.sets.get(stream), [self.sets.get(c) for c in candidates])
            best = int(np.argmax(exact))
            if exact[best] >= self.threshold:
                self.witness[stream], self.jaccard[stream] = candidates[best], exact[best]
                return
        for bucket in mine:
            kept = self._kept.setdefault(bucket, [])
            if len(kept) < self.cap:
                kept.append(stream)
            else:
                self._overfull.add(bucket)

    def _candidates(self, stream: int, mine: list[int]) -> list[int]:
        """Kept streams that share a bucket and could reach the threshold, those that share most buckets first."""
        shared: Counter[int] = Counter()
        for bucket in mine:
            shared.update(self._kept.get(bucket, ()))
        found = list(shared)  # a Counter keeps the order of first meeting, which `order` alone determines
        if found:
            sizes, size = self.sets.size(np.array(found)), int(self.sets.size(stream))
            possible = np.minimum(sizes, size) >= self.threshold * np.maximum(sizes, size) - 1e-9
            found = [c for c, ok in zip(found, possible.tolist(), strict=True) if ok]
        if len(found) > self.cap or not self._overfull.isdisjoint(mine):
            self.capped += 1
            found = sorted(found, key=lambda c: -shared[c])[: self.cap]
        return found
