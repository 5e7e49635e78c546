"""Drops copies: equal token streams, and rows whose shingle sets are nearly equal to a kept row's."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from steps.contracts.dataset import Dataset, Mask
from steps.contracts.errors import InputError
from steps.contracts.index import DedupIndex
from steps.contracts.ledger import LedgerWriter
from steps.contracts.outcome import Outcome
from steps.dedup.config import DedupConfig
from steps.dedup.decide import decide
from steps.dedup.fingerprints import Numbers, ids_of, read_fingerprints
from steps.dedup.index import check_settings
from steps.dedup.keep import kept_index
from steps.dedup.known import Known
from steps.dedup.lines import ledger_lines
from steps.dedup.report import dedup_report
from steps.engines.minhash.sketch import SetFile
from steps.engines.progress.progress import Stopwatch


def dedup(
    dataset: Dataset,
    config: DedupConfig,
    folder: Path,
    index: DedupIndex | None = None,
    *,
    keep_index: bool = False,
    code: str = "",
) -> Outcome:
    """Drop duplicates; survivors depend on the rows alone, not on their order, sharding or number of workers.

    Of rows that are copies, the one of the earliest batch stays, within a batch the one of the smallest content id.
    Every dropped duplicate names a kept row and the exact Jaccard similarity with it. Needs temporary disk space in
    `folder` of about 4 bytes per word, and memory of about 500 bytes per row.

    With the `index` of an earlier run over the first batches only the rows that came since are read; the result is
    that of a run over all of them. `keep_index` makes the index that the next run needs, in `folder`/index. `code`:
    digest of the code and the libraries.

    Raises:
        ConfigError: the index was made under other settings, or by other code.
        InputError: rows of the index are gone, or new rows belong to a batch that it already holds.
    """
    watch = Stopwatch()
    if index is not None:
        check_settings(index, config, code)
    # Dropping all that contradict each other can take back what an earlier run kept: only a whole run can tell.
    followed = index if config.contradictions != "drop_all" else None
    known = Known(followed)
    places = _places(dataset, known, followed)
    with SetFile(folder / "shingles.partial") as sets:
        fresh = dataset if not known.rows else dataset.view(places.new)
        prints, sketches = read_fingerprints(fresh, config, sets)
        decisions, survivors = decide(prints, sketches, config, known, keep_bands=keep_index)
        made = None
        if keep_index:
            made = kept_index(decisions, prints, survivors, sketches, known, config, folder / "index", followed, code)
    with LedgerWriter(folder / "ledger.parquet", "dedup") as writer:
        writer.add_table(ledger_lines(decisions))
        ledger = writer.close()
    kept = dataset.select(_mask(dataset.rows, places.order[decisions.keep]), folder, "dedup")
    reused = known.rows if index is not None else None
    report = dedup_report(decisions, writer, config, watch, reused)
    return Outcome(kept, ledger, report.balanced(), index=made)


@dataclass(frozen=True)
class _Places:
    """order: place in the dataset of each row, those of earlier runs first, in the index's order. new: which rows of
    the dataset no earlier run has seen, shape (rows,).
    """

    order: Numbers
    new: Mask


def _places(dataset: Dataset, known: Known, index: DedupIndex | None) -> _Places:
    if index is None:
        return _Places(np.arange(dataset.rows), np.ones(dataset.rows, bool))
    chunks = [c.table for c in dataset.chunks(["record_id", "content_id", "batch"])]
    names = [
        np.concatenate([ids_of(t[c]) for t in chunks] or [np.empty(0, "S32")]) for c in ("record_id", "content_id")
    ]
    there = [known.column(c, np.empty(0, "S32")) for c in ("record_ids", "content_ids")]
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
