"""Greedy choice of survivors: a row goes only if a kept row is proven similar enough."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from steps.contracts.arrays import Mask, Numbers, Vectors
from steps.contracts.records import UNWANTED
from steps.engines.progress.progress import Progress
from steps.engines.vector_store.open import open_store
from steps.engines.vector_store.store import VectorStore
from steps.semantic.config import SemanticConfig
from steps.semantic.embeddings import Embeddings

Cosines = npt.NDArray[np.float64]

# Rows decided on between two additions to the index; within such a block every row is compared with every one.
_BLOCK = 1024
# Cosines are computed anew in float64 and rounded to this many decimals, so that the last bits of a search decide
# nothing. Candidates are taken this far below the threshold, since a search works in float32.
DECIMALS = 6
_SLACK = 1e-4
# Chosen: vectors that an approximate index learns from, per row of the largest number of clusters that it may make.
_SAMPLE = 100_000

# The second model's opinion of (row, other rows): one score each.
Rerank = Callable[[int, list[int]], list[float]]


@dataclass(frozen=True)
class Decisions:
    """Of n rows. witness: the kept row that it gives way to, -1 for none. cosine: with the witness, nan for none;
    second: the second model's score, nan for none. nearest: highest cosine with a row kept before, -inf for none.
    capped: kept, though not all of its similar kept rows were looked at. Shape (n,) all.

    pairs: pairs at or above the threshold that were looked at. exact: whether no nearer row can have been missed.
    """

    witness: Numbers
    cosine: Cosines
    second: Cosines
    nearest: Cosines
    capped: Mask
    pairs: int
    exact: bool

    @property
    def dropped(self) -> Mask:
        """Rows that give way, shape (n,)."""
        return self.witness >= 0


def decide(rows: Embeddings, config: SemanticConfig, rerank: Rerank | None) -> Decisions:
    """Each kind of row on its own. Memory: the vectors of kept rows once more, in the store.

    No chaining: a dropped row never causes another drop. Held-out rows come first and are never dropped.
    """
    order = rows.order()
    order = order[rows.compared[order]]
    search = _Search(rows, config, rerank)
    with Progress("semantic: comparing", len(order)) as progress:
        for kind in range(UNWANTED + 1):
            of_kind = order[rows.kinds[order] == kind]
            if len(of_kind):
                search.run(of_kind, progress)
    return search.finish()


class _Search:
    def __init__(self, rows: Embeddings, config: SemanticConfig, rerank: Rerank | None) -> None:
        n = len(rows.kinds)
        self.rows, self.config, self.rerank = rows, config, rerank
        self.witness = np.full(n, -1, np.int64)
        self.cosine, self.second, self.nearest = np.full(n, np.nan), np.full(n, np.nan), np.full(n, -np.inf)
        self.capped = np.zeros(n, bool)
        self.pairs, self.exact = 0, True

    def run(self, order: Numbers, progress: Progress) -> None:
        """Decide on rows of one kind, given in the order in which they win."""
        vectors = self.rows.vectors
        sample = vectors[order[:: max(1, len(order) // _SAMPLE)]]
        kept = np.empty(0, np.int64)
        with open_store(self.config.neighbours, sample, len(order)) as store:
            self.exact &= store.exact
            for start in range(0, len(order), _BLOCK):
                block = order[start : start + _BLOCK]
                self._block(block, store, kept)
                new = block[self.witness[block] < 0]
                store.add(vectors[new])
                kept = np.concatenate([kept, new])
                progress.advance(len(block))

    def _block(self, block: Numbers, store: VectorStore, kept: Numbers) -> None:
        """Decide on one block: against the rows kept before it, then within it."""
        vectors = self.rows.vectors[block]
        k = min(self.config.max_neighbours, len(kept))
        close: Vectors = np.empty((len(block), 0), np.float32)
        numbers = np.empty((len(block), 0), np.int64)
        if k:
            close, numbers = store.search(vectors, k)
            self.nearest[block] = close.max(axis=1)
        within = np.tril(vectors @ vectors.T, -1)
        low = self.config.threshold - _SLACK
        stays = np.zeros(len(block), bool)
        for place, row in enumerate(block.tolist()):
            beside = within[place, :place][stays[:place]]
            self.nearest[row] = max(self.nearest[row], beside.max(initial=-np.inf))
            found = [*kept[numbers[place][close[place] >= low]], *block[:place][stays[:place]][beside >= low]]
            full = bool(k) and k == self.config.max_neighbours and bool((close[place] >= low).all())
            stays[place] = not self._gives_way(row, np.array(found, np.int64), full)

    def _gives_way(self, row: int, found: Numbers, full: bool) -> bool:
        """Whether the row is dropped in favour of one of the kept rows `found`; its witness is then set."""
        if self.rows.held_out[row] or not len(found):
            return False
        cosines = self._cosines(row, found)
        near = cosines >= round(self.config.threshold, DECIMALS)
        found, cosines = found[near], cosines[near]
        best = np.lexsort((self.rows.record_ids[found], -cosines))[: self.config.max_neighbours]
        found, cosines = found[best], cosines[best]
        self.pairs += len(found)
        if not len(found):
            return False
        second = np.full(len(found), np.nan)
        at = 0
        if self.rerank is not None and self.config.rerank is not None:
            second = np.array(self.rerank(row, found.tolist()))
            at = int(np.argmax(second))
            if not second[at] >= self.config.rerank.threshold:
                self.capped[row] = full or int(near.sum()) > self.config.max_neighbours
                return False
        self.witness[row], self.cosine[row], self.second[row] = found[at], cosines[at], second[at]
        return True

    def _cosines(self, row: int, others: Numbers) -> Cosines:
        """Cosines in float64, rounded, shape (others,)."""
        vectors = self.rows.vectors
        one = vectors[row].astype(np.float64)
        cosines: Cosines = np.round((vectors[others].astype(np.float64) * one).sum(axis=1), DECIMALS)
        return cosines

    def finish(self) -> Decisions:
        """What was decided."""
        return Decisions(
            self.witness, self.cosine, self.second, self.nearest, self.capped, self.pairs, self.exact
        )  # fmt: skip
