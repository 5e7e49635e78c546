"""Rows that earlier runs decided on, and how new rows find them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from steps.contracts.arrays import Numbers
from steps.contracts.dedup_index import DedupIndex
from steps.dedup.band_index import read_part
from steps.dedup.fingerprints import Digests, Fingerprints, Stacked
from steps.engines.minhash.signatures import BandHashes, Sets


@dataclass(frozen=True)
class EarlierCandidates:
    """Kept rows of earlier runs that share a band hash with a new row.

    rows: their row numbers in canonical order, shape (m,). hashes, members: per band, a shared hash and the place in
    `rows` of the row that has it. sets, sizes: their shingle sets one after another, and their sizes; leads: as of
    Sketches, shape (m,).
    """

    rows: Numbers
    hashes: list[npt.NDArray[np.uint32]]
    members: list[Numbers]
    sets: Sets
    sizes: Numbers
    leads: Numbers


class EarlierIndex:
    """The parts of a kept index as one list of rows; no index is an empty list."""

    def __init__(self, index: DedupIndex | None) -> None:
        self.parts = [read_part(p) for p in index.parts] if index else []
        self.rows = sum(len(p.record_ids) for p in self.parts)
        self.streams = sum(len(p.streams) for p in self.parts)
        self.compared, self.capped = (index.manifest.compared, index.manifest.capped) if index else (0, 0)
        self._first = np.cumsum([0, *(len(p.kept) for p in self.parts)])

    def column(self, name: str, new: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A field of all rows, those of earlier runs first, then the new ones."""
        return np.concatenate([*(getattr(p, name) for p in self.parts), new]) if self.parts else new

    def with_new(self, new: Fingerprints) -> Fingerprints:
        """Fingerprints of all rows."""
        claims = self.column("claims", new.claims)
        claimed = claims.any()
        return Fingerprints(
            record_ids=self._stacked("record_ids", new),
            content_ids=self._stacked("content_ids", new),
            batches=self._stacked("batches", new),
            asked=self.column("asked", new.asked) if claimed else _nothing(len(claims)),
            answered=self.column("answered", new.answered) if claimed else _nothing(len(claims)),
            claims=claims,
            prompt=self.column("prompt", new.prompt),
            plain=self.column("plain", new.plain),
            signs=self.column("signs", new.signs),
            symbolic=self.column("symbolic", new.symbolic),
        )

    def _stacked(self, name: str, new: Fingerprints) -> Any:
        column = getattr(new, name)
        return Stacked([*(getattr(p, name) for p in self.parts), column]) if self.parts else column

    def rows_with(self, words: Digests) -> Numbers:
        """A row with the same words (uint64, shape (m, 2)), -1 where there is none; shape (m,)."""
        found = np.full(len(words), -1, np.int64)
        base = 0
        for part in self.parts:
            at, of = _matches(part.streams, words[:, 0])
            rows = part.stream_rows[at]
            same = part.words[rows - base, 1] == words[of, 1]
            found[of[same]] = rows[same]
            base += len(part.record_ids)
        return found

    def candidates(self, bands: BandHashes) -> EarlierCandidates:
        """Kept rows that share a hash in some band with a new row; bands: shape (bands, new rows)."""
        hashes: list[npt.NDArray[np.uint32]] = []
        owners: list[Numbers] = []
        for q, new in enumerate(bands):
            wanted = _distinct(new) if self.parts else new[:0]
            found = [_matches(part.bands[q], wanted) for part in self.parts]
            hashes.append(np.concatenate([wanted[:0], *(wanted[of] for _, of in found)]))
            places = (
                p.owners[q][at] + first for p, (at, _), first in zip(self.parts, found, self._first, strict=False)
            )
            owners.append(np.concatenate([np.empty(0, np.int64), *places]).astype(np.int64))
        together = np.unique(np.concatenate(owners)) if owners else np.empty(0, np.int64)
        members = [np.searchsorted(together, o) for o in owners]
        rows, sets, sizes, leads = self._sets(together)
        return EarlierCandidates(rows, hashes, members, sets, sizes, leads)

    def _sets(self, kept: Numbers) -> tuple[Numbers, Sets, Numbers, Numbers]:
        """Row numbers, sets, sizes and leads of kept rows, named by their places in all parts' `kept`, ascending."""
        rows, sets, sizes = [np.empty(0, np.int64)], [np.empty(0, np.uint32)], [np.empty(0, np.int64)]
        leads = [np.empty(0, np.int64)]
        for part, low, high in zip(self.parts, self._first[:-1], self._first[1:], strict=True):
            here = kept[(kept >= low) & (kept < high)] - low
            ends = np.asarray(part.set_ends)
            starts = np.concatenate(([0], ends[:-1]))
            rows.append(part.kept[here])
            sizes.append(ends[here] - starts[here])
            sets.append(_slices(part.sets, starts[here], ends[here]))
            leads.append(part.leads[here])
        return np.concatenate(rows), np.concatenate(sets), np.concatenate(sizes), np.concatenate(leads)


def _nothing(rows: int) -> Digests:
    """Digests of documents, which claim nothing: there is nothing to copy."""
    return np.broadcast_to(np.uint64(0), (rows, 2))


def _matches(ascending: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> tuple[Numbers, Numbers]:
    """Every pair of a place in `ascending` and a place in `wanted` that hold the same value."""
    low = np.searchsorted(ascending, wanted, "left")
    hit = np.flatnonzero(low < len(ascending))
    hit = hit[ascending[low[hit]] == wanted[hit]]
    # Most values are nowhere: only those that are somewhere are looked up a second time.
    counts = np.searchsorted(ascending, wanted[hit], "right") - low[hit]
    return spread(low[hit], counts), np.repeat(hit, counts)


def _distinct(hashes: BandHashes) -> BandHashes:
    """Ascending, each once. (np.unique hashes them first, which takes ten times as long.)"""
    ascending = np.sort(hashes)
    return ascending[np.append(True, ascending[1:] != ascending[:-1])] if len(ascending) else ascending


def spread(starts: Numbers, counts: Numbers) -> Numbers:
    """starts[0], starts[0] + 1 ... (counts[0] numbers), then the same for the next ones."""
    before = np.cumsum(counts) - counts
    return np.repeat(starts - before, counts) + np.arange(int(counts.sum()), dtype=np.int64)


def _slices(values: npt.NDArray[Any], starts: Numbers, ends: Numbers) -> npt.NDArray[Any]:
    return np.asarray(values[spread(starts, ends - starts)])
