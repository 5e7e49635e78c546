"""Which rows stay, and which kept row each of the others gives way to."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from steps.dedup.config import DedupConfig
from steps.dedup.contradictions import Contradictions, find_contradictions
from steps.dedup.fingerprints import Fingerprints, Numbers
from steps.dedup.near import NearDuplicates, near_duplicates
from steps.engines.minhash.sets import SpilledSets


@dataclass(frozen=True)
class Decisions:
    """What becomes of each of n rows. keep: shape (n,). witness: the row that it gives way to, -1 for none.

    score: exact Jaccard with the witness, nan for none. order: the rows in canonical order.
    """

    prints: Fingerprints
    order: Numbers
    contradictions: Contradictions
    near: NearDuplicates
    keep: npt.NDArray[np.bool_]
    witness: Numbers
    score: npt.NDArray[np.float64]

    def reason(self, row: int) -> str:
        """Reason code of a dropped row."""
        if self.contradictions.dropped[row]:
            return "contradiction"
        return "near_duplicate" if self.near.witness[self.prints.stream[row]] >= 0 else "exact_duplicate"


def decide(prints: Fingerprints, sets: SpilledSets, config: DedupConfig) -> Decisions:
    """Contradictions first (as the config says), then equal token streams, then near duplicates among the rest."""
    order = prints.canonical_order()
    contradictions = find_contradictions(prints, order, config.contradictions)
    alive = order[~contradictions.dropped[order]]
    streams, at = np.unique(prints.stream[alive], return_index=True)
    # Row that stands for each stream (-1: all its rows are gone), and the streams in the order of those rows.
    speaker = np.full(len(prints.bands), -1, np.int64)
    speaker[streams] = alive[at]
    near = near_duplicates(prints.bands, streams[np.argsort(at)], sets, config)

    winner = np.where(near.witness >= 0, near.witness, np.arange(len(speaker)))
    witness = speaker[winner[prints.stream]]
    witness[contradictions.dropped] = contradictions.first[contradictions.dropped]
    witness[(witness == np.arange(len(order))) & ~contradictions.dropped] = -1
    score = np.where(near.witness >= 0, near.jaccard, 1.0)[prints.stream]
    score[(witness < 0) | contradictions.dropped] = np.nan
    keep = (witness < 0) & ~contradictions.dropped
    return Decisions(prints, order, contradictions, near, keep, witness, score)
