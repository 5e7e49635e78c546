"""Replace personal data in every text of every row."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from steps.contracts.dataset import Dataset, Mask
from steps.contracts.errors import InputError
from steps.contracts.ledger import LedgerWriter
from steps.contracts.outcome import Outcome
from steps.contracts.records import SCHEMA, Row, content_id_of
from steps.engines.progress.progress import Progress, Stopwatch
from steps.engines.rows.segments import Segment, segments, with_segments
from steps.scrub.books import Books, report
from steps.scrub.config import ScrubConfig
from steps.scrub.detect import Detectors
from steps.scrub.pseudonym import read_key
from steps.scrub.settle import Settler
from steps.scrub.spans import Finding, replaced

CHANGED = "pii"
FAILED = "detector_failed"

Settled = dict[str, list[Finding] | None]


@dataclass(frozen=True)
class _Run:
    """What the functions below share: the settings, and where they write."""

    config: ScrubConfig
    settler: Settler
    ledger: LedgerWriter
    books: Books


def scrub(dataset: Dataset, config: ScrubConfig, folder: Path) -> Outcome:
    """A version in which every detected value is replaced, in all splits.

    Raises:
        ConfigError: no key is set, or a setting that the recognizers can't serve.
        MissingDependencyError: the NER model isn't there.
        InputError: a detector failed on a row and `on_undecided` is "fail".
    """
    watch = Stopwatch()
    key = read_key(config)
    keep = np.ones(dataset.rows, bool)
    rewriter = dataset.rewriter(folder, "scrub")
    with (
        Detectors(config) as detectors,
        LedgerWriter(folder / "ledger.parquet", "scrub") as lines,
        Progress("scrub", dataset.rows) as progress,
    ):
        run = _Run(config, Settler(config, key), lines, Books())
        for chunk in dataset.chunks():
            table, stays = _scrub_table(chunk.table, run, detectors)
            keep[chunk.start : chunk.start + len(stays)] = stays
            rewriter.put(chunk, table, stays)
            progress.advance(len(stays))
        ledger = lines.close()
    after = rewriter.close()
    quarantine = ~keep if config.on_undecided == "quarantine" else np.zeros(dataset.rows, bool)
    quarantined = dataset.select(quarantine, folder / "quarantined", "scrub")
    done = report(run.books, config, key, lines, (dataset.rows, after.rows), watch)
    return Outcome(after, ledger, done.balanced(), quarantined)


def _scrub_table(table: pa.Table, run: _Run, detectors: Detectors) -> tuple[pa.Table | None, Mask]:
    """The new table (None: nothing changed) and the rows that stay, shape (rows,)."""
    rows = table.to_pylist()
    found = [segments(row) for row in rows]
    settled = run.settler.settle((s.text for parts in found for s in parts), detectors)
    stays = np.ones(len(rows), bool)
    changed = False
    for number, (row, parts) in enumerate(zip(rows, found, strict=True)):
        if any(settled[s.text] is None for s in parts):
            stays[number] = _undecided(row, parts, settled, run)
        if any(settled[s.text] for s in parts):
            rows[number] = _scrub_row(row, parts, settled, run, stays[number])
            changed = True
    return pa.Table.from_pylist(rows, schema=SCHEMA) if changed else None, stays


def _scrub_row(row: Row, parts: Sequence[Segment], settled: Settled, run: _Run, stays: bool) -> Row:
    texts: dict[str, str] = {}
    spans: list[tuple[str, Finding, str, str]] = []
    for part in parts:
        findings = settled[part.text]
        if findings:
            texts[part.path] = replaced(part.text, run.settler.replacements(part.text, findings))[0]
            spans += [(part.path, f, part.text[f.start : f.end], run.settler.name(part.text, f)) for f in findings]
    new = with_segments(row, texts)
    new["content_id"] = content_id_of(new)
    if stays:
        run.books.add(row, spans)
        run.ledger.add(row["record_id"], "changed", CHANGED, evidence=_evidence(row, new, spans))
    return new


def _evidence(row: Row, new: Row, spans: Sequence[tuple[str, Finding, str, str]]) -> dict[str, Any]:
    entities: dict[str, int] = {}
    for _, finding, _, _ in spans:
        entities[finding.entity] = entities.get(finding.entity, 0) + 1
    return {
        "entities": entities,
        "spans": [[path, f.start, f.end, f.entity, name] for path, f, _, name in spans],
        "content_id": {"before": row["content_id"], "after": new["content_id"]},
    }


def _undecided(row: Row, parts: Sequence[Segment], settled: Settled, run: _Run) -> bool:
    """Note a row that couldn't be searched whole; says whether it stays."""
    paths = [s.path for s in parts if settled[s.text] is None]
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
