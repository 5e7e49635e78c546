"""Replace personal data in every text of every row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from steps.contracts.arrays import Mask
from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.errors import InputError
from steps.contracts.ledger import LedgerWriter
from steps.contracts.outcome import Outcome
from steps.contracts.records import SCHEMA, Row
from steps.contracts.row_cache import CachedRows, Lookup, row_keys
from steps.engines.progress.progress import Progress, Stopwatch
from steps.engines.rows.segments import Segment, segments
from steps.scrub.config import ScrubConfig
from steps.scrub.counters import Counters
from steps.scrub.detectors import Detectors
from steps.scrub.prescan import Prescan
from steps.scrub.pseudonyms.key import read_key
from steps.scrub.redactor import Redacted, Redactor, TextFindings
from steps.scrub.report import report
from steps.scrub.row_codec import KEY_COLUMNS, decoded, encoded, origin
from steps.scrub.word_files import with_words

CHANGED = "pii"
FAILED = "detector_failed"


@dataclass(frozen=True)
class _Run:
    """What the functions below share: the settings, and where they write."""

    config: ScrubConfig
    redactor: Redactor
    ledger: LedgerWriter
    counters: Counters
    cached: CachedRows
    prescan: Prescan


def scrub(rows: Dataset, config: ScrubConfig, ctx: StageContext) -> Outcome:
    """A version in which every detected value is replaced, in all splits.

    Rows that the earlier run's `scrub_row_cache` knows are not searched again, when it was made under the same
    settings, `ctx.key_id` and `ctx.code`; the result is the same. Word files of the config lie below `ctx.root`.

    Raises:
        ConfigError: no key is set, or a setting that the recognizers can't serve.
        MissingDependencyError: the NER model isn't there.
        InputNotFoundError: a word file isn't there.
        InputError: a word file can't be read; a detector failed on a row and `on_undecided` is "fail".
    """
    watch = Stopwatch()
    config = with_words(config, ctx.root)
    key = read_key(config)
    keep = np.ones(rows.rows, bool)
    rewriter = rows.rewriter(ctx.folder, "scrub")
    with (
        Detectors(config) as detectors,
        LedgerWriter(ctx.folder / "ledger.parquet", "scrub") as lines,
        Progress("scrub", rows.rows) as progress,
    ):
        cached = CachedRows(origin(config, key, ctx.code, ctx.key_id), ctx.earlier.get("scrub_row_cache"))
        run = _Run(config, Redactor(config, key), lines, Counters(), cached, Prescan(detectors.conditions))
        for chunk in rows.chunks():
            table, stays = _scrub_table(chunk.table, run, detectors)
            keep[chunk.start : chunk.start + len(stays)] = stays
            rewriter.put(chunk, table, stays)
            progress.advance(len(stays))
        ledger = lines.close()
    after = rewriter.close()
    quarantine = ~keep if config.on_undecided == "quarantine" else np.zeros(rows.rows, bool)
    quarantined = rows.select(quarantine, ctx.folder / "quarantined", "scrub")
    kept = run.cached.close(ctx.folder / "row_cache")
    done = report(run.counters, config, key, lines, (rows.rows, after.rows), watch)
    done = done.model_copy(update={"notes": (*done.notes, *run.cached.notes())})
    return Outcome(after, ledger, done.balanced(), quarantined, {"scrub_row_cache": kept})


def _scrub_table(table: pa.Table, run: _Run, detectors: Detectors) -> tuple[pa.Table | None, Mask]:
    """The new table (None: nothing changed) and the rows that stay, shape (rows,)."""
    keys = row_keys(table, KEY_COLUMNS)
    lookup = run.cached.look_up(keys)
    open_rows = _open_rows(table, lookup, run.prescan)
    rows = table.take(pa.array(open_rows, pa.int64())).to_pylist()
    texts = [segments(row) for row in rows]
    found = _findings(open_rows, texts, lookup, run, detectors)
    stays = np.ones(len(table), bool)
    results: dict[int, str] = {}
    undecided: list[int] = []
    changed: dict[int, Row] = {}
    for number, row, here in zip(open_rows, rows, texts, strict=True):
        if any(found[s.text] is None for s in here):
            stays[number] = _undecided(row, here, found, run)
            undecided.append(number)
        if any(found[s.text] for s in here):
            redacted = run.redactor.redacted(row, here, found)
            changed[number] = redacted.row
            results[number] = encoded(here, found)
            if stays[number]:
                _count(row, redacted, run)
    run.cached.keep(keys, results, undecided)
    return _with_rows(table, changed) if changed else None, stays


def _open_rows(table: pa.Table, lookup: Lookup, prescan: Prescan) -> list[int]:
    """Numbers of the rows to look at: those with kept findings, and new ones in which something may be found."""
    new = np.array(lookup.new, np.int64)
    if len(new):
        fresh = table if len(new) == len(table) else table.take(pa.array(new))
        new = new[prescan.rows(fresh)]
    return sorted([*new.tolist(), *lookup.results])


def _findings(
    numbers: Sequence[int], texts: Sequence[Sequence[Segment]], lookup: Lookup, run: _Run, detectors: Detectors
) -> TextFindings:
    """Findings of every text of these rows: cached ones, and those of rows that are new."""
    known: TextFindings = {}
    for number, here in zip(numbers, texts, strict=True):
        if number in lookup.results:
            known |= decoded(lookup.results[number], here)
    new = (here for number, here in zip(numbers, texts, strict=True) if number not in lookup.results)
    return known | run.redactor.find((s.text for here in new for s in here), detectors)


def _with_rows(table: pa.Table, new: Mapping[int, Row]) -> pa.Table:
    """The table with the rows of these numbers replaced; the others aren't read."""
    order = np.arange(len(table))
    order[list(new)] = len(table) + np.arange(len(new))
    replaced_rows = pa.Table.from_pylist(list(new.values()), schema=SCHEMA)
    return pa.concat_tables([table.cast(SCHEMA), replaced_rows]).take(order)


def _count(row: Row, redacted: Redacted, run: _Run) -> None:
    """Enter a changed row that stays in the counters and in the ledger."""
    run.counters.add(row, redacted.values)
    if run.config.mode == "surrogate":
        run.counters.add_surrogates(redacted.values)
    evidence = {
        "mode": run.config.mode,
        "entities": redacted.entities,
        "spans": [list(span) for span in redacted.spans],
        "content_id": {"before": row["content_id"], "after": redacted.row["content_id"]},
    }
    run.ledger.add(row["record_id"], "changed", CHANGED, evidence=evidence)


def _undecided(row: Row, texts: Sequence[Segment], found: TextFindings, run: _Run) -> bool:
    """Note a row that couldn't be searched whole; says whether it stays."""
    paths = [s.path for s in texts if found[s.text] is None]
    policy = run.config.on_undecided
    if policy == "fail":
        raise InputError(
            f"a detector failed on {row['record_id']} at {paths[0]}",
            where=f"{row['source']} {row['locator']}",
            hint="set scrub.on_undecided to quarantine, drop or keep",
        )
    run.ledger.add(row["record_id"], "undecided", FAILED, evidence={"paths": paths, "policy": policy})
    if policy == "keep":
        return True
    run.ledger.add(row["record_id"], "dropped" if policy == "drop" else "quarantined", FAILED)
    return False
