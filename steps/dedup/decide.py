"""Which rows stay, and which kept row each of the others gives way to."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from steps.dedup.config import DedupConfig
from steps.dedup.contradictions import Contradictions, find_contradictions
from steps.dedup.fingerprints import Fingerprints, Numbers, Sketches
from steps.engines.minhash.resolve import bucket_numbers, first_of_equals, near_duplicates


@dataclass(frozen=True)
class Decisions:
    """What becomes of each of n rows. keep: shape (n,). witness: the row that it gives way to, -1 for none.

    score: exact Jaccard with the witness, nan for none. near: rows that go because their words are nearly, not fully,
    those of the witness. order: the rows in canonical order. streams: distinct token streams. compared: exact
    comparisons made. capped: streams that reached the limit of comparisons.
    """

    prints: Fingerprints
    order: Numbers
    contradictions: Contradictions
    keep: npt.NDArray[np.bool_]
    witness: Numbers
    score: npt.NDArray[np.float64]
    near: npt.NDArray[np.bool_]
    streams: int
    compared: int
    capped: int


def decide(prints: Fingerprints, sketches: Sketches, config: DedupConfig) -> Decisions:
    """Contradictions first (as the config says), then equal token streams, then near duplicates among the rest.

    The band hashes in `sketches` are used up.
    """
    n = len(prints)
    order = prints.canonical_order()
    contradictions = find_contradictions(prints, order, config.contradictions)
    alive = order[~contradictions.dropped[order]]
    place = first_of_equals(prints.words, alive)
    leads = place == np.arange(len(alive))
    # The row that stands for each token stream, and which of them each row belongs to.
    speakers, stream = alive[leads], (np.cumsum(leads) - 1)[place]
    near = near_duplicates(
        *bucket_numbers(_columns(sketches.bands, speakers)),
        sketches.sets.values(),
        sketches.starts[speakers],
        sketches.ends[speakers],
        threshold=config.threshold,
        cap=config.max_comparisons,
    )
    beaten = near.witness[stream] >= 0
    witness = np.full(n, -1, np.int64)
    witness[alive] = np.where(beaten, speakers[near.witness[stream]], np.where(leads, -1, speakers[stream]))
    score = np.full(n, np.nan)
    score[alive] = np.where(beaten, near.jaccard[stream], np.where(leads, np.nan, 1.0))
    is_near = np.zeros(n, bool)
    is_near[alive] = beaten
    keep = (witness < 0) & ~contradictions.dropped
    witness[contradictions.dropped] = contradictions.first[contradictions.dropped]
    return Decisions(
        prints, order, contradictions, keep, witness, score, is_near, len(speakers), near.compared, near.capped
    )


def _columns(bands: npt.NDArray[np.uint32], chosen: Numbers) -> npt.NDArray[np.uint32]:
    """bands[:, chosen], in the memory of `bands`: band by band, each lies no later than before."""
    m = len(chosen)
    flat = bands.reshape(-1)
    for q in range(len(bands)):
        flat[q * m : (q + 1) * m] = bands[q][chosen]
    return flat[: len(bands) * m].reshape(len(bands), m)
