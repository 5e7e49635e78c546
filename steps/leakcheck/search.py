"""Finds the held-out row that a train row repeats."""

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from steps.engines.minhash.sets import jaccard
from steps.engines.text.shingles import Hashes, distinct
from steps.leakcheck.config import LeakCheckConfig
from steps.leakcheck.heldout import HeldOut, token_digest

Reason: TypeAlias = Literal["equals_held_out", "near_held_out", "contains_held_out"]


@dataclass(frozen=True)
class Leak:
    """A train row's strongest link to a held-out row. score: Jaccard, or for contains_held_out the overlap.

    witness: number of the held-out row. evidence: counts and shares only, no text.
    """

    reason: Reason
    witness: int
    score: float
    evidence: dict[str, Any]


@dataclass
class Findings:
    """What the check saw. train_rows: rows checked. boilerplate: ignored shingles and n-grams."""

    train_rows: int = 0
    boilerplate_shingles: int = 0
    boilerplate_ngrams: int = 0
    boilerplate_limits: tuple[int, int] = (0, 0)
    leaks: list[tuple[str, Leak]] = field(default_factory=list)


def find_leak(
    tokens: list[str], shingles: Hashes, ngrams: Hashes, held_out: HeldOut, config: LeakCheckConfig
) -> Leak | None:
    """The leak of a train row, if it has one: equal, else nearly equal, else containing a held-out row.

    `shingles` and `ngrams` are the row's hashes in reading order, repeats included.
    """
    same = held_out.whole.get(token_digest(tokens))
    if same is not None:
        return Leak("equals_held_out", same, 1.0, {"jaccard": 1.0})
    return _near(distinct(shingles), held_out, config) or _inside(ngrams, held_out, config)


def _near(shingles: Hashes, held_out: HeldOut, config: LeakCheckConfig) -> Leak | None:
    """Jaccard >= threshold over all shingles, and as large a share of the held-out row's own (not boilerplate) ones.

    The second condition keeps two fillings of one template apart.
    """
    rows, _, share = held_out.near.overlaps(shingles)
    rows, share = rows[share >= config.threshold], share[share >= config.threshold]
    if not len(rows):
        return None
    exact = jaccard(shingles, [held_out.near.sets[r] for r in rows.tolist()])
    best = int(np.argmax(exact))
    if exact[best] < config.threshold:
        return None
    score = float(exact[best])
    return Leak(
        "near_held_out",
        int(rows[best]),
        score,
        {"jaccard": round(score, 6), "own_shingles_shared": round(float(share[best]), 6)},
    )


def _inside(ngrams: Hashes, held_out: HeldOut, config: LeakCheckConfig) -> Leak | None:
    rows, shared, share = held_out.inside.overlaps(distinct(ngrams))
    if not len(rows) or share.max() < config.overlap:
        return None
    best = int(np.argmax(share))
    hit = np.isin(ngrams, held_out.inside.sets[int(rows[best])]) & held_out.inside.is_specific(ngrams)
    evidence = {
        "overlap": round(float(share[best]), 6),
        "matched_ngrams": int(shared[best]),
        "ngram": config.overlap_ngram,
        "longest_match_words": _longest_run(hit) + config.overlap_ngram - 1,
    }
    return Leak("contains_held_out", int(rows[best]), float(share[best]), evidence)


def _longest_run(hit: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> int:
    """Length of the longest run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], hit.astype(np.int8), [0]))))
    return int((edges[1::2] - edges[::2]).max(initial=0))
