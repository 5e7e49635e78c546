"""Decide about each row by quality rules, unsafe content and poisoned content."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from steps.contracts.dataset import Dataset
from steps.contracts.digests import value_digest
from steps.contracts.ledger import LedgerWriter
from steps.contracts.ledger import Verdict as LedgerVerdict
from steps.contracts.memory import Memory, Recall, row_keys
from steps.contracts.outcome import Outcome
from steps.contracts.records import Row
from steps.contracts.reports import Example, Histogram, StageReport, Table
from steps.engines.progress.progress import Progress, Stopwatch
from steps.screen.config import Action, ScreenConfig
from steps.screen.kept import KEY_COLUMNS, decoded, encoded, origin
from steps.screen.prescan import COLUMNS, Prescan
from steps.screen.verdict import Screener, Verdict

_VERDICTS: dict[Action, LedgerVerdict] = {"drop": "dropped", "quarantine": "quarantined", "flag": "flagged"}
_EXAMPLES_PER_RULE = 2
_EDGES = (0, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 50_000)


@dataclass
class _Books:
    """Counts of one run. `samples` keeps the smallest record ids per rule: the same in any row order."""

    hits: Counter[str] = field(default_factory=Counter)
    mentions: Counter[str] = field(default_factory=Counter)
    severities: Counter[str] = field(default_factory=Counter)
    hit_rows: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    samples: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def add(self, row: Row, verdict: Verdict) -> None:
        """Count what is said about a row."""
        for f in verdict.found:
            self.hits[f.rule] += 1
            self.mentions[f.rule] += f.mention
            self.severities[f"{f.category}, {f.severity}"] += 1
            text = f"{f.path}: {f.sample or f'{f.end - f.start} characters'}{' (mentioned)' if f.mention else ''}"
            best = {*self.samples.get(f.rule, []), (row["record_id"], text)}
            self.samples[f.rule] = sorted(best)[:_EXAMPLES_PER_RULE]
        self.hit_rows.update({f.rule for f in verdict.found})
        if verdict.decision is not None:
            self.splits[f"{_VERDICTS[verdict.decision.action]}: {row['split'] or '(none)'}"] += 1


def screen(
    dataset: Dataset, config: ScreenConfig, folder: Path, *, memory: Memory | None = None, code: str = ""
) -> Outcome:
    """The rows that pass; rows to drop and rows to quarantine are taken out, flagged rows stay.

    Rows that `memory` knows are not screened again, when settings and `code` (digest of code and libraries) are the
    same.

    Raises:
        ConfigError: a pattern that RE2 refuses, or an unknown name in an allow list.
        MissingDependencyError: the tokenizer of the rules isn't there.
    """
    watch = Stopwatch()
    screener = Screener(config)
    prescan = Prescan(config, screener.scanner)
    recall = Recall(origin(config, code), memory)
    books = _Books()
    keep = np.ones(dataset.rows, bool)
    aside = np.zeros(dataset.rows, bool)
    with (
        LedgerWriter(folder / "ledger.parquet", "screen") as lines,
        Progress("screen", dataset.rows) as progress,
    ):
        for chunk in dataset.chunks((*COLUMNS, "content_id")):
            start = chunk.start
            for batch in chunk.table.to_batches():
                books.lengths.update(np.searchsorted(_EDGES[1:], prescan.lengths(batch), side="right").tolist())
                for number, row, verdict in _verdicts(batch, prescan, screener, recall):
                    books.add(row, verdict)
                    if verdict.decision is not None:
                        action = _told(lines, row, verdict)
                        keep[start + number] = action == "flagged"
                        aside[start + number] = action == "quarantined"
                start += batch.num_rows
            progress.advance(chunk.table.num_rows)
        ledger = lines.close()
    after = dataset.select(keep, folder, "screen")
    quarantined = dataset.select(aside, folder / "quarantined", "screen")
    report = _report(books, config, lines, (dataset.rows, after.rows), watch)
    report = report.model_copy(update={"notes": (*report.notes, *recall.notes())})
    return Outcome(after, ledger, report.balanced(), quarantined, recall.close(folder / "memory"))


def _verdicts(
    batch: pa.RecordBatch, prescan: Prescan, screener: Screener, recall: Recall
) -> list[tuple[int, Row, Verdict]]:
    """Number in the batch, row and verdict of the rows about which something may be said; new ones are screened."""
    keys = row_keys(pa.Table.from_batches([batch]), KEY_COLUMNS)
    recalled = recall.look_up(keys)
    new = np.flatnonzero(~recalled.known)
    needed = new[prescan.look(batch.take(pa.array(new))).needed] if len(new) else new
    numbers = np.sort(np.concatenate([needed, np.fromiter(recalled.said, np.int64)]))
    found = []
    for number, row in zip(numbers.tolist(), _rows(batch, numbers), strict=True):
        said = recalled.said.get(number)
        found.append((number, row, decoded(said, row) if said else screener.verdict(row)))
    recall.keep(keys, {number: encoded(verdict) for number, _, verdict in found})
    return found


def _rows(batch: pa.RecordBatch, numbers: npt.NDArray[np.int64]) -> list[Row]:
    """These rows as dicts. `meta` isn't screened, so it isn't read: an empty one stands for it."""
    return [{**row, "meta": "{}"} for row in batch.take(pa.array(numbers)).to_pylist()]


def _told(lines: LedgerWriter, row: Row, verdict: Verdict) -> LedgerVerdict:
    """Write the decision to the ledger; returns what happens to the row."""
    decision = verdict.decision
    assert decision is not None
    said = _VERDICTS[decision.action]
    lines.add(row["record_id"], said, decision.reason, score=decision.score, evidence=decision.evidence)
    return said


def _report(
    books: _Books, config: ScreenConfig, ledger: LedgerWriter, rows: tuple[int, int], watch: Stopwatch
) -> StageReport:
    reasons = sorted({r for verdict in _VERDICTS.values() for r in ledger.counts[verdict]})
    return StageReport(
        stage="screen",
        rows_in=rows[0],
        kept=rows[1],
        dropped=ledger.total("dropped"),
        quarantined=ledger.total("quarantined"),
        flagged=ledger.total("flagged"),
        dropped_by=dict(ledger.counts["dropped"]),
        quarantined_by=dict(ledger.counts["quarantined"]),
        flagged_by=dict(ledger.counts["flagged"]),
        counts={
            "hits by rule": dict(sorted(books.hits.items())),
            "rows by rule": dict(sorted(books.hit_rows.items())),
            "hits by category and severity": dict(sorted(books.severities.items())),
            "of these only mentioned": {rule: n for rule, n in sorted(books.mentions.items()) if n},
            "rows by verdict and split": dict(sorted(books.splits.items())),
        },
        histograms=(_lengths(books.lengths),),
        tables=(
            Table(
                title="Rows by deciding rule",
                columns=("rule", *_VERDICTS.values()),
                rows=tuple((r, *(ledger.counts[v][r] for v in _VERDICTS.values())) for r in reasons),
            ),
        ),
        examples=tuple(
            Example(record_id=record, reason=rule, text=text)
            for rule, samples in sorted(books.samples.items())
            for record, text in samples
        ),
        notes=_notes(config),
        config_digest=value_digest(config.model_dump(mode="json")),
        seconds=watch.seconds,
        cpu_seconds=watch.cpu_seconds,
    )


def _lengths(lengths: Counter[int]) -> Histogram:
    counts = tuple(lengths[i] for i in range(len(_EDGES)))
    edges = (*map(float, _EDGES), 1e9)
    return Histogram(title="Row length before screening", unit="characters", edges=edges, counts=counts)


def _notes(config: ScreenConfig) -> tuple[str, ...]:
    parts = (("quality rules", config.rules), ("unsafe content", config.unsafe), ("poisoned content", config.poisoned))
    notes = [f"{name}: off" for name, part in parts if part is None]
    if config.rules is not None and set(config.rules.splits) != {"train", "validation", "test"}:
        notes.append(f"quality rules apply to {', '.join(config.rules.splits)} rows only")
    if config.unsafe is not None or config.poisoned is not None:
        notes.append("patterns see English wording and literal spellings; disguised or translated attacks pass")
    return tuple(notes)
