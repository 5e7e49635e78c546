"""Dedup as a run over growing data calls it: by the kept index where that gives the same result, else whole."""

from pathlib import Path

from steps.contracts.dataset import Dataset
from steps.contracts.errors import ConfigError, InputError
from steps.contracts.index import DedupIndex, IndexManifest
from steps.contracts.outcome import Outcome
from steps.dedup.config import DedupConfig
from steps.dedup.dedup import dedup
from steps.dedup.index import write_index


def dedup_following(
    dataset: Dataset, config: DedupConfig, folder: Path, index: DedupIndex | None, keep_index: bool, code: str
) -> Outcome:
    """The outcome of `dedup` over all rows; rows that `index` knows aren't read again where it can be followed.

    Where it can't (other settings or code, rows gone or changed, new rows in an old batch) every row is compared
    again, and a note says why. The outcome's index is empty unless `keep_index`.
    """
    note = None
    try:
        done = dedup(dataset, config, folder, _filled(index), keep_index=keep_index, code=code)
    except (ConfigError, InputError) as e:
        if _filled(index) is None:
            raise
        note = f"{dataset.rows:,} rows compared anew, not only what came since the earlier run: {e.what}"
        done = dedup(dataset, config, folder, keep_index=keep_index, code=code)
    notes = (*done.report.notes, *([note] if note else []))
    report = done.report.model_copy(update={"notes": notes})
    return Outcome(done.dataset, done.ledger, report, index=done.index or _empty(folder / "index"))


def _filled(index: DedupIndex | None) -> DedupIndex | None:
    return index if index is not None and index.manifest.parts else None


def _empty(folder: Path) -> DedupIndex:
    """What a run that keeps no index hands on in its place."""
    nothing = IndexManifest(settings="", rows=0, last_batch=0, compared=0, capped=0, parts=())
    return write_index(folder, nothing, {})
