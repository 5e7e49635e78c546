"""Which rows stay, and which kept row each of the others gives way to."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from steps.contracts.arrays import Numbers
from steps.dedup.config import DedupConfig
from steps.dedup.contradictions import Contradictions, find_contradictions
from steps.dedup.earlier_index import EarlierCandidates, EarlierIndex
from steps.dedup.fingerprints import Digests, Fingerprints, Sketches
from steps.engines.minhash.resolve import Claims, Near, bucket_numbers, first_of_equals, near_duplicates
from steps.engines.minhash.signatures import BandHashes


@dataclass(frozen=True)
class Decisions:
    """What becomes of each of n rows, those of earlier runs first. keep: shape (n,). witness: the row that it gives
    way to, -1 for none.

    score: exact Jaccard with the witness, nan for none. near: rows that go because their words are nearly, not fully,
    those of the witness. streams: distinct token streams. compared: exact
    comparisons made. capped: streams that reached the limit of comparisons.
    """

    prints: Fingerprints
    contradictions: Contradictions
    keep: npt.NDArray[np.bool_]
    witness: Numbers
    score: npt.NDArray[np.float64]
    near: npt.NDArray[np.bool_]
    streams: int
    compared: int
    capped: int


@dataclass(frozen=True)
class Survivors:
    """New token streams and the kept ones among them, for the index. representatives: row of each new stream, in
    canonical order. kept: rows. bands: band hashes of the kept rows, shape (bands, len(kept)).
    """

    representatives: Numbers
    kept: Numbers
    bands: BandHashes


def decide(
    new: Fingerprints, sketches: Sketches, config: DedupConfig, earlier: EarlierIndex, *, keep_bands: bool = False
) -> tuple[Decisions, Survivors]:
    """Contradictions first (as the config says), then equal token streams, then near duplicates among the rest.

    Rows that contradict each other are never equal, and near duplicates only if their answers are by themselves.

    Rows of earlier runs come first in canonical order (their batches are earlier), so nothing that is decided about
    them changes. Band hashes in `sketches` are used up; `keep_bands` asks for those of the survivors.
    """
    prints = earlier.with_new(new)
    contradictions = find_contradictions(prints, config.contradictions)
    fresh = np.arange(earlier.rows, len(prints))
    result = Decisions(
        prints, contradictions,
        keep=earlier.column("keep", np.ones(len(new), bool)),
        witness=earlier.column("witness", np.full(len(new), -1, np.int64)),
        score=earlier.column("score", np.full(len(new), np.nan)),
        near=earlier.column("near", np.zeros(len(new), bool)),
        streams=earlier.streams, compared=0, capped=0,
    )  # fmt: skip
    alive = prints.in_order(fresh[~contradictions.dropped[fresh]])
    place = first_of_equals(sketches.words, alive - earlier.rows)
    leads = place == np.arange(len(alive))
    # The row that stands for each token stream, and which of them each row belongs to.
    representatives, stream = alive[leads], (np.cumsum(leads) - 1)[place]
    standing = _standing(result, earlier, sketches.words[representatives - earlier.rows])
    unseen = standing.witness < 0
    near, bands = _compared(prints, representatives[unseen] - earlier.rows, sketches, config, earlier, keep_bands)
    standing.fill(unseen, near)

    follower = np.where(leads, -1, representatives[stream])
    result.witness[alive] = np.where(standing.witness[stream] >= 0, standing.witness[stream], follower)
    result.score[alive] = np.where(standing.witness[stream] >= 0, standing.score[stream], np.where(leads, np.nan, 1.0))
    result.near[alive] = standing.near[stream]
    result.keep[fresh] = (result.witness[fresh] < 0) & ~contradictions.dropped[fresh]
    gone = fresh[contradictions.dropped[fresh]]
    result.witness[gone] = contradictions.first[gone]
    kept = near.found.witness < 0
    survivors = Survivors(
        representatives[unseen], representatives[unseen][kept], bands[:, kept] if keep_bands else bands
    )
    counted = replace(
        result,
        streams=earlier.streams + int(unseen.sum()),
        compared=earlier.compared + near.found.compared,
        capped=earlier.capped + near.found.capped,
    )
    return counted, survivors


@dataclass(frozen=True)
class _Compared:
    """found: per new stream, its witness among `rows` (row numbers)."""

    found: Near
    rows: Numbers


@dataclass(frozen=True)
class _Standing:
    """Per new stream: the kept row that it gives way to (-1: none), their Jaccard, and whether that is a near one."""

    witness: Numbers
    score: npt.NDArray[np.float64]
    near: npt.NDArray[np.bool_]

    def fill(self, chosen: npt.NDArray[np.bool_], compared: _Compared) -> None:
        """Take over what the comparison of these streams found."""
        found = compared.found
        beaten = found.witness >= 0
        self.witness[chosen] = np.where(beaten, compared.rows[found.witness], -1)
        self.score[chosen], self.near[chosen] = found.jaccard, beaten


def _standing(result: Decisions, earlier: EarlierIndex, words: Digests) -> _Standing:
    """What earlier runs decided on the same words: new copies go where the old ones went."""
    copy = earlier.rows_with(words)
    old = copy >= 0
    kept = result.keep[copy] & old
    witness = np.where(kept, copy, np.where(old, result.witness[copy], -1))
    score = np.where(kept, 1.0, np.where(old, result.score[copy], np.nan))
    return _Standing(witness, score, old & ~kept & result.near[copy])


def _compared(
    prints: Fingerprints,
    chosen: Numbers,
    sketches: Sketches,
    config: DedupConfig,
    earlier: EarlierIndex,
    keep_bands: bool,
) -> tuple[_Compared, BandHashes]:
    """Compare new rows, named by their place among the new ones, with their candidates; and their band hashes."""
    bands = _columns(sketches.bands, chosen)
    candidates = earlier.candidates(bands)
    starts, ends = sketches.starts[chosen], sketches.ends[chosen]
    first = int(sketches.ends[-1]) if len(sketches.ends) else 0
    sketches.sets.append(candidates.sets)
    candidate_ends = first + np.cumsum(candidates.sizes)
    kept_bands = bands.copy() if keep_bands else bands[:, :0]
    rows = np.concatenate([candidates.rows, chosen + earlier.rows])
    leads = np.concatenate([candidates.leads, sketches.leads[chosen]])
    found = near_duplicates(
        *_buckets(bands, candidates),
        sketches.sets.values(),
        np.concatenate([candidate_ends - candidates.sizes, starts]),
        np.concatenate([candidate_ends, ends]),
        threshold=config.threshold,
        cap=config.max_comparisons,
        kept_before=len(candidates.rows),
        # Whoever compares prompts only wants one row of each.
        claims=_claims(prints, rows, leads) if config.compare != "prompt" else None,
    )
    m = len(candidates.rows)
    of_new = Near(found.witness[m:], found.jaccard[m:], found.compared, found.capped)
    return _Compared(of_new, rows), kept_bands


def _claims(prints: Fingerprints, rows: Numbers, leads: Numbers) -> Claims | None:
    """What these rows claim; None where no row claims anything."""
    prompt = prints.prompt[rows]
    if not prompt.any():
        return None
    return Claims(prompt, prints.answered[rows, 0], prints.plain[rows], leads.astype(np.int64))


def _buckets(bands: BandHashes, candidates: EarlierCandidates) -> tuple[npt.NDArray[np.int32], Numbers]:
    """Bucket numbers of the candidates and the new rows after them, shape (bands, rows)."""
    m = len(candidates.rows)
    if not m:
        return bucket_numbers(bands)
    joined = np.empty((len(bands), m + bands.shape[1]), np.uint32)
    absent = np.zeros(joined.shape, bool)
    for q, (hashes, members) in enumerate(zip(candidates.hashes, candidates.members, strict=True)):
        joined[q, m:] = bands[q]
        absent[q, :m] = True
        joined[q, members], absent[q, members] = hashes, False
    return bucket_numbers(joined, absent)


def _columns(bands: BandHashes, chosen: Numbers) -> BandHashes:
    """bands[:, chosen], in the memory of `bands`: band by band, each lies no later than before."""
    m = len(chosen)
    flat = bands.reshape(-1)
    for q in range(len(bands)):
        flat[q * m : (q + 1) * m] = bands[q][chosen]
    return flat[: len(bands) * m].reshape(len(bands), m)
