"""Finds the held-out rows that train rows repeat."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from steps.engines.text.columns import Words
from steps.leakcheck.config import LeakCheckConfig
from steps.leakcheck.heldout import HeldOut
from steps.leakcheck.ngram_index import ngrams_of
from steps.leakcheck.spans import Span

Reason: TypeAlias = Literal["equals_held_out", "near_held_out", "contains_held_out"]


@dataclass(frozen=True)
class Leak:
    """A train row's strongest link to a held-out row. score: Jaccard, or for contains_held_out the overlap.

    witness: number of the held-out row. evidence: counts, shares and places only, no text. words: the longest matched
    passage of the train row, from and to (exclusive), counted in words.
    """

    reason: Reason
    witness: int
    score: float
    evidence: dict[str, Any]
    words: tuple[int, int]


@dataclass(frozen=True)
class Found:
    """A leaking train row; place: its position in the dataset. spans: where the passage stands in the row's texts."""

    record_id: str
    place: int
    leak: Leak
    spans: tuple[Span, ...]

    @property
    def evidence(self) -> dict[str, Any]:
        """What the ledger and the report say about it."""
        return {**self.leak.evidence, "matched": [list(span) for span in self.spans]}


@dataclass
class Findings:
    """What the check saw. train_rows: rows checked. boilerplate: ignored shingles and n-grams."""

    train_rows: int = 0
    boilerplate_shingles: int = 0
    boilerplate_ngrams: int = 0
    boilerplate_limits: tuple[int, int] = (0, 0)
    leaks: list[Found] = field(default_factory=list)


def find_leaks(
    words: Words, wanted: npt.NDArray[np.bool_], held_out: HeldOut, config: LeakCheckConfig
) -> Iterator[tuple[int, Leak]]:
    """(row, leak) of the wanted rows that have one: equal, else nearly equal, else containing a held-out row.

    Nearly equal: Jaccard >= threshold over all shingles, and as large a share of the held-out row's own (not
    boilerplate) ones, which keeps two fillings of one template apart.
    """
    lengths = np.diff(words.offsets)
    wanted = wanted & (lengths > 0)
    same = {
        row: held_out.whole[key]
        for row in np.flatnonzero(wanted).tolist()
        if (key := (int(words.digests[row, 0]), int(words.digests[row, 1]))) in held_out.whole
    }
    rest = wanted.copy()
    rest[list(same)] = False
    near = held_out.near.overlaps(ngrams_of(words, config.ngram), rest, config.threshold, exact=True)
    inside = held_out.inside.overlaps(
        ngrams_of(words, config.overlap_ngram), rest & (near.best < 0), config.overlap, exact=False
    )
    for row in np.flatnonzero(wanted & ((near.best >= 0) | (inside.best >= 0) | ~rest)).tolist():
        if row in same:
            yield row, Leak("equals_held_out", same[row], 1.0, {"jaccard": 1.0}, (0, int(lengths[row])))
        elif near.best[row] >= 0:
            at = _passage(near.start[row], near.length[row], config.ngram, lengths[row])
            score = float(near.score[row])
            evidence = {"jaccard": round(score, 6), "own_shingles_shared": round(float(near.share[row]), 6)}
            yield row, Leak("near_held_out", int(near.best[row]), score, evidence, at)
        else:
            at = _passage(inside.start[row], inside.length[row], config.overlap_ngram, lengths[row])
            evidence = {
                "overlap": round(float(inside.share[row]), 6),
                "matched_ngrams": int(inside.shared[row]),
                "ngram": config.overlap_ngram,
                "longest_match_words": at[1] - at[0],
            }
            yield row, Leak("contains_held_out", int(inside.best[row]), float(inside.share[row]), evidence, at)


def _passage(start: int, length: int, n: int, words: int) -> tuple[int, int]:
    """From and to, in words, of a run of n-grams; a row of fewer than n words is one n-gram."""
    return int(start), int(min(start + length + n - 1, words)) if length else int(start)
