"""What screening counted, and the report of it."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from steps.contracts.digests import value_digest
from steps.contracts.ledger import LedgerWriter
from steps.contracts.ledger import Verdict as LedgerVerdict
from steps.contracts.records import Row
from steps.contracts.reports import Example, Histogram, StageReport, Table
from steps.engines.progress.progress import Stopwatch
from steps.screen.config import ScreenConfig
from steps.screen.language import UNDECIDED
from steps.screen.screener import Verdict

VERDICTS: dict[str, LedgerVerdict] = {
    "drop": "dropped",
    "quarantine": "quarantined",
    "flag": "flagged",
    "undecided": "undecided",
}
_EXAMPLES_PER_RULE = 2
_EDGES = (0, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 50_000)


@dataclass
class Books:
    """Counts of one run. `samples` keeps the smallest record ids per rule: the same in any row order."""

    hits: Counter[str] = field(default_factory=Counter)
    mentions: Counter[str] = field(default_factory=Counter)
    severities: Counter[str] = field(default_factory=Counter)
    hit_rows: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    samples: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def measure(self, lengths: npt.NDArray[np.int64]) -> None:
        """Count rows by the length of their text in characters, shape (rows,)."""
        self.lengths.update(np.searchsorted(_EDGES[1:], lengths, side="right").tolist())

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
        if verdict.language is not None:
            self.languages[verdict.language] += 1
        if verdict.decision is not None:
            self.splits[f"{VERDICTS[verdict.decision.action]}: {row['split'] or '(none)'}"] += 1


def report(
    books: Books, config: ScreenConfig, ledger: LedgerWriter, rows: tuple[int, int], watch: Stopwatch
) -> StageReport:
    """The stage's report; `rows` in and kept."""
    reasons = sorted({r for verdict in VERDICTS.values() for r in ledger.counts[verdict]})
    return StageReport(
        stage="screen",
        rows_in=rows[0],
        kept=rows[1],
        dropped=ledger.total("dropped"),
        quarantined=ledger.total("quarantined"),
        flagged=ledger.total("flagged"),
        undecided=books.languages[UNDECIDED],
        dropped_by=dict(ledger.counts["dropped"]),
        quarantined_by=dict(ledger.counts["quarantined"]),
        flagged_by=dict(ledger.counts["flagged"]),
        counts={
            "hits by rule": dict(sorted(books.hits.items())),
            "rows by rule": dict(sorted(books.hit_rows.items())),
            "hits by category and severity": dict(sorted(books.severities.items())),
            "of these only mentioned": {rule: n for rule, n in sorted(books.mentions.items()) if n},
            "rows by verdict and split": dict(sorted(books.splits.items())),
            "rows by language": dict(sorted(books.languages.items())),
        },
        histograms=(_lengths(books.lengths),),
        tables=(
            Table(
                title="Rows by deciding rule",
                columns=("rule", *VERDICTS.values()),
                rows=tuple((r, *(ledger.counts[v][r] for v in VERDICTS.values())) for r in reasons),
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
    if config.language is not None:
        notes.append(f"language is looked at in {', '.join(config.language.splits)} rows that nothing else takes out")
    if config.rules is not None and set(config.rules.splits) != {"train", "validation", "test"}:
        notes.append(f"quality rules apply to {', '.join(config.rules.splits)} rows only")
    if config.unsafe is not None or config.poisoned is not None:
        notes.append("patterns know wordings: paraphrased and misspelt attacks pass, and those in most languages")
    return tuple(notes)
