"""What a run leaves for the next one: the index of its rows."""

from pathlib import Path

import numpy as np

from steps.contracts.arrays import Numbers
from steps.contracts.dedup_index import DedupIndex, IndexManifest
from steps.dedup.band_index import IndexPart, merged, settings_digest, write_index, write_part
from steps.dedup.config import DedupConfig
from steps.dedup.decide import Decisions, Survivors
from steps.dedup.earlier_index import EarlierIndex, spread
from steps.dedup.fingerprints import Fingerprints, Sketches
from steps.engines.minhash.signatures import Sets

# Sets that are copied into an index at once; chosen: tens of megabytes.
_AT_ONCE = 20_000


def next_index(
    decisions: Decisions,
    fresh: Fingerprints,
    survivors: Survivors,
    sketches: Sketches,
    earlier: EarlierIndex,
    config: DedupConfig,
    folder: Path,
    index: DedupIndex | None,
    code: str,
) -> DedupIndex:
    """Store what the next run needs in `folder`; `index` is the index that this run began with."""
    part = _part_of(decisions, fresh, survivors, sketches, earlier)
    shared = list(zip(index.manifest.parts, index.parts, strict=True)) if index else []
    # A part that isn't twice as large as what follows it is taken in: any number of runs leaves few parts to search.
    while shared and shared[-1][0].rows < 2 * len(part.record_ids):
        part = merged(earlier.parts[len(shared) - 1], part)
        shared.pop()
    entry = write_part(part, folder / "parts")
    last_batch = index.manifest.last_batch if index else 0
    manifest = IndexManifest(
        settings=settings_digest(config),
        code=code,
        rows=len(decisions.prints),
        last_batch=int(np.asarray(fresh.batches).max(initial=last_batch)),
        compared=decisions.compared,
        capped=decisions.capped,
        parts=(*(p for p, _ in shared), entry),
    )
    return write_index(folder, manifest, {p.name: path for p, path in shared})


def _part_of(
    d: Decisions, fresh: Fingerprints, survivors: Survivors, sketches: Sketches, earlier: EarlierIndex
) -> IndexPart:
    """What the index keeps of the new rows, whose fingerprints are `fresh`."""
    new = slice(earlier.rows, None)
    kept = survivors.kept
    starts, ends = sketches.starts[kept - earlier.rows], sketches.ends[kept - earlier.rows]
    owners = np.empty(survivors.bands.shape, np.int32)
    for q, hashes in enumerate(survivors.bands):
        # Hash and place in one number: sorted without a second look, and equal hashes in one order everywhere.
        both = np.sort(hashes.astype(np.uint64) << 32 | np.arange(len(hashes), dtype=np.uint64))
        hashes[:], owners[q] = both >> 32, both & 0xFFFFFFFF
    first_half = sketches.words[survivors.representatives - earlier.rows, 0]
    streams = np.argsort(first_half)
    return IndexPart(
        np.asarray(fresh.record_ids), np.asarray(fresh.content_ids), np.asarray(fresh.batches), sketches.words,
        fresh.asked, fresh.answered, fresh.claims, fresh.prompt, fresh.plain, fresh.signs, fresh.symbolic,
        d.keep[new], d.near[new], d.witness[new], d.score[new],
        first_half[streams], survivors.representatives[streams], kept, survivors.bands, owners,
        _sets(sketches.sets.values(), starts, ends), np.cumsum(ends - starts),
        sketches.leads[kept - earlier.rows],
    )  # fmt: skip


def _sets(values: Sets, starts: Numbers, ends: Numbers) -> Sets:
    """values[start:end] of each, one after another; a part at a time, since a place costs twice what it points at."""
    sizes = ends - starts
    last = np.cumsum(sizes)
    found = np.empty(int(sizes.sum()), values.dtype)
    for low in range(0, len(starts), _AT_ONCE):
        here = slice(low, low + _AT_ONCE)
        first = last[low] - sizes[low]
        found[first : first + sizes[here].sum()] = values[spread(starts[here], sizes[here])]
    return found
