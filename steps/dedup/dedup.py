"""Drops copies: equal token streams, and rows whose shingle sets are nearly equal to a kept row's."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from steps.contracts.arrays import Mask, Numbers
from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.dedup_index import DedupIndex, IndexManifest
from steps.contracts.errors import ConfigError, InputError
from steps.contracts.ledger import LedgerWriter
from steps.contracts.outcome import Outcome
from steps.dedup.band_index import check_settings, write_index
from steps.dedup.config import DedupConfig
from steps.dedup.decide import decide
from steps.dedup.earlier_index import EarlierIndex
from steps.dedup.fingerprints import ids_of, read_fingerprints
from steps.dedup.lines import ledger_lines
from steps.dedup.next_index import next_index
from steps.dedup.report import dedup_report
from steps.engines.minhash.sketch import SetFile
from steps.engines.progress.progress import Stopwatch


def dedup(rows: Dataset, config: DedupConfig, ctx: StageContext) -> Outcome:
    """Drop duplicates; survivors depend on the rows alone, not on their order, sharding or number of workers.

    Of rows that are copies, the one of the earliest batch stays, within a batch the one of the smallest content id.
    Every dropped duplicate names a kept row and the exact Jaccard similarity with it. Needs temporary disk space in
    `ctx.folder` of about 4 bytes per word, and memory of about 500 bytes per row.

    Rows that the earlier run's `dedup_index` holds aren't read again where the result is that of a run over all rows.
    Where it isn't (other settings or code, rows gone or changed, new rows in an old batch), every row is compared
    again, and a note says why. The index that this run makes is empty unless `ctx.keep`.
    """
    index = ctx.earlier.get("dedup_index")
    if index is None or not index.manifest.parts:
        return dedup_onto(None, rows, config, ctx)
    try:
        return dedup_onto(index, rows, config, ctx)
    except (ConfigError, InputError) as e:
        done = dedup_onto(None, rows, config, ctx)
        note = f"{rows.rows:,} rows compared anew, not only what came since the earlier run: {e.what}"
        return replace(done, report=done.report.model_copy(update={"notes": (*done.report.notes, note)}))


def dedup_onto(index: DedupIndex | None, rows: Dataset, config: DedupConfig, ctx: StageContext) -> Outcome:
    """Drop duplicates among the rows that came since `index` was made, and copies of rows that it holds.

    Raises:
        ConfigError: the index was made under other settings, or by other code.
        InputError: rows of the index are gone, or new rows belong to a batch that it already holds.
    """
    watch = Stopwatch()
    if index is not None:
        check_settings(index, config, ctx.code)
    # Dropping all that contradict each other can take back what an earlier run kept: only a whole run can tell.
    followed = index if config.contradictions != "drop_all" else None
    earlier = EarlierIndex(followed)
    places = _places(rows, earlier, followed)
    with SetFile(ctx.folder / "shingles.partial") as sets:
        fresh = rows if not earlier.rows else rows.view(places.new)
        prints, sketches = read_fingerprints(fresh, config, sets)
        decisions, survivors = decide(prints, sketches, config, earlier, keep_bands=ctx.keep)
        place = ctx.folder / "index"
        if ctx.keep:
            made = next_index(decisions, prints, survivors, sketches, earlier, config, place, followed, ctx.code)
        else:
            made = _empty(place)
    with LedgerWriter(ctx.folder / "ledger.parquet", "dedup") as writer:
        writer.add_table(ledger_lines(decisions))
        ledger = writer.close()
    kept = rows.select(_mask(rows.rows, places.order[decisions.keep]), ctx.folder, "dedup")
    reused = earlier.rows if index is not None else None
    report = dedup_report(decisions, writer, config, watch, reused)
    return Outcome(kept, ledger, report.balanced(), artifacts={"dedup_index": made})


def _empty(folder: Path) -> DedupIndex:
    """What a run that keeps no index hands on in its place."""
    nothing = IndexManifest(settings="", rows=0, last_batch=0, compared=0, capped=0, parts=())
    return write_index(folder, nothing, {})


@dataclass(frozen=True)
class _Places:
    """order: place in the dataset of each row, those of earlier runs first, in the index's order. new: which rows of
    the dataset no earlier run has seen, shape (rows,).
    """

    order: Numbers
    new: Mask


def _places(dataset: Dataset, earlier: EarlierIndex, index: DedupIndex | None) -> _Places:
    if index is None:
        return _Places(np.arange(dataset.rows), np.ones(dataset.rows, bool))
    chunks = [c.table for c in dataset.chunks(["record_id", "content_id", "batch"])]
    names = [
        np.concatenate([ids_of(t[c]) for t in chunks] or [np.empty(0, "S32")]) for c in ("record_id", "content_id")
    ]
    there = [earlier.column(c, np.empty(0, "S32")) for c in ("record_ids", "content_ids")]
    at = _found(names[0], there[0])
    if (at < 0).any() or (names[1][at] != there[1]).any():
        gone = int((at < 0).sum()) or int((names[1][at] != there[1]).sum())
        raise InputError(
            f"{gone} rows of the kept index are not in the data as they were",
            where="dedup",
            hint="sources may be added, not changed or taken away; run once without reuse to make a new index",
        )
    new = np.ones(dataset.rows, bool)
    new[at] = False
    batches = np.concatenate([t["batch"].to_numpy() for t in chunks] or [np.empty(0, np.int32)])
    late = batches[new] <= index.manifest.last_batch
    if late.any():
        raise InputError(
            f"{int(late.sum())} new rows are of batch {int(batches[new].min())}, but the kept index goes up to batch"
            f" {index.manifest.last_batch}: in a whole run they could displace rows that it kept",
            where="dedup",
            hint=f"give the new sources `batch: {index.manifest.last_batch + 1}`, or run once without reuse",
        )
    return _Places(np.concatenate([at, np.flatnonzero(new)]), new)


def _found(names: "np.ndarray", wanted: "np.ndarray") -> Numbers:  # type: ignore[type-arg]
    """Place in `names` of each one wanted, -1 where it isn't there."""
    if len(names) >= len(wanted) and (names[: len(wanted)] == wanted).all():
        return np.arange(len(wanted))
    order = np.argsort(names, kind="stable")
    at = np.minimum(np.searchsorted(names, wanted, sorter=order), max(len(names) - 1, 0))
    places = order[at] if len(names) else np.zeros(len(wanted), np.int64)
    return np.where(names[places] == wanted, places, -1) if len(names) else places - 1


def _mask(rows: int, chosen: Numbers) -> Mask:
    mask = np.zeros(rows, bool)
    mask[chosen] = True
    return mask
