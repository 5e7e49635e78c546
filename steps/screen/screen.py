"""Decide about each row by quality rules, unsafe content and poisoned content."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from steps.contracts.dataset import Dataset
from steps.contracts.digests import value_digest
from steps.contracts.ledger import LedgerWriter, Verdict
from steps.contracts.outcome import Outcome
from steps.contracts.records import Row, text_of
from steps.contracts.reports import Example, Histogram, StageReport, Table
from steps.engines.progress.progress import Progress, Stopwatch
from steps.screen.config import Action, ScreenConfig
from steps.screen.rules import Rules
from steps.screen.scan import ContentScanner, Found, worst

_VERDICTS: dict[Action, Verdict] = {"drop": "dropped", "quarantine": "quarantined", "flag": "flagged"}
_EXAMPLES_PER_RULE = 2
# Chosen: a hostile row may hold thousands of hits; the ledger names the first ones and counts all.
_HITS_IN_LEDGER = 50
_EDGES = (0, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 50_000)


@dataclass
class _Books:
    """Counts of one run. `samples` keeps the smallest record ids per rule: the same in any row order."""

    hits: Counter[str] = field(default_factory=Counter)
    mentions: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    samples: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def add(self, row: Row, found: list[Found]) -> None:
        """Count a row's hits."""
        for f in found:
            self.hits[f.rule] += 1
            self.mentions[f.rule] += f.mention
            text = f"{f.path}: {f.sample or f'{f.end - f.start} characters'}{' (mentioned)' if f.mention else ''}"
            best = {*self.samples.get(f.rule, []), (row["record_id"], text)}
            self.samples[f.rule] = sorted(best)[:_EXAMPLES_PER_RULE]


@dataclass(frozen=True)
class _Decision:
    action: Action
    reason: str
    score: float | None
    evidence: dict[str, Any]


def screen(dataset: Dataset, config: ScreenConfig, folder: Path) -> Outcome:
    """The rows that pass; rows to drop and rows to quarantine are taken out, flagged rows stay.

    Raises:
        ConfigError: a pattern that RE2 refuses, or an unknown name in an allow list.
        MissingDependencyError: the tokenizer of the rules isn't there.
    """
    watch = Stopwatch()
    rules = Rules(config.rules) if config.rules else None
    scanner = ContentScanner(config)
    books = _Books()
    keep = np.ones(dataset.rows, bool)
    aside = np.zeros(dataset.rows, bool)
    with (
        LedgerWriter(folder / "ledger.parquet", "screen") as lines,
        Progress("screen", dataset.rows) as progress,
    ):
        for chunk in dataset.chunks():
            for number, row in enumerate(chunk.table.to_pylist(), chunk.start):
                decision = _decide(row, rules, scanner, books)
                if decision is not None:
                    verdict = _VERDICTS[decision.action]
                    lines.add(
                        row["record_id"], verdict, decision.reason, score=decision.score, evidence=decision.evidence
                    )
                    keep[number] = verdict == "flagged"
                    aside[number] = verdict == "quarantined"
            progress.advance(chunk.table.num_rows)
        ledger = lines.close()
    after = dataset.select(keep, folder, "screen")
    quarantined = dataset.select(aside, folder / "quarantined", "screen")
    report = _report(books, config, lines, (dataset.rows, after.rows), watch)
    return Outcome(after, ledger, report.balanced(), quarantined)


def _decide(row: Row, rules: Rules | None, scanner: ContentScanner, books: _Books) -> _Decision | None:
    """The strongest of what the rules and the scan say; None when nothing is to be said about the row."""
    books.lengths[_bin(len(text_of(row)))] += 1
    found = scanner.find(row)
    books.add(row, found)
    by_scan = _by_scan(found)
    by_rules = _by_rules(row, rules)
    decisions = [d for d in (by_rules, by_scan) if d is not None]
    if not decisions:
        return None
    order = list(_VERDICTS)
    decision = min(decisions, key=lambda d: order.index(d.action))
    books.splits[f"{_VERDICTS[decision.action]}: {row['split'] or '(none)'}"] += 1
    return decision


def _by_scan(found: list[Found]) -> _Decision | None:
    first = worst(found)
    if first is None:
        return None
    hits = [[f.rule, f.path, f.start, f.end, "mention" if f.mention else "use"] for f in found[:_HITS_IN_LEDGER]]
    return _Decision(first.action, first.rule, None, {"hits": hits, "count": len(found)})


def _by_rules(row: Row, rules: Rules | None) -> _Decision | None:
    if rules is None or rules.config.action == "off" or (row["split"] or "train") not in rules.config.splits:
        return None
    failure = rules.first_failure(row)
    if failure is None:
        return None
    return _Decision(rules.config.action, failure[0], failure[1], {"rule": failure[0], "value": failure[1]})


def _bin(length: int) -> int:
    return sum(length >= edge for edge in _EDGES[1:])


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
