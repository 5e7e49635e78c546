"""The report of the stage."""

from collections import Counter

from steps.contracts.digests import value_digest
from steps.contracts.ledger import LedgerWriter
from steps.contracts.reports import Example, Histogram, StageReport, Table
from steps.engines.progress.progress import Stopwatch
from steps.screen.config import ScreenConfig
from steps.screen.counters import LENGTH_EDGES, VERDICTS, Counters
from steps.screen.language import UNDECIDED


def report(
    counters: Counters, config: ScreenConfig, ledger: LedgerWriter, rows: tuple[int, int], watch: Stopwatch
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
        undecided=counters.languages[UNDECIDED],
        dropped_by=dict(ledger.counts["dropped"]),
        quarantined_by=dict(ledger.counts["quarantined"]),
        flagged_by=dict(ledger.counts["flagged"]),
        counts={
            "hits by rule": dict(sorted(counters.hits.items())),
            "rows by rule": dict(sorted(counters.hit_rows.items())),
            "hits by category and severity": dict(sorted(counters.severities.items())),
            "of these only mentioned": {rule: n for rule, n in sorted(counters.mentions.items()) if n},
            "rows by verdict and split": dict(sorted(counters.splits.items())),
            "rows by language": dict(sorted(counters.languages.items())),
        },
        histograms=(_lengths(counters.lengths),),
        tables=(
            Table(
                title="Rows by deciding rule",
                columns=("rule", *VERDICTS.values()),
                rows=tuple((r, *(ledger.counts[v][r] for v in VERDICTS.values())) for r in reasons),
            ),
        ),
        examples=tuple(
            Example(record_id=record, reason=rule, text=text)
            for rule, samples in sorted(counters.samples.items())
            for record, text in samples
        ),
        notes=_notes(config),
        config_digest=value_digest(config.model_dump(mode="json")),
        seconds=watch.seconds,
        cpu_seconds=watch.cpu_seconds,
    )


def _lengths(lengths: Counter[int]) -> Histogram:
    counts = tuple(lengths[i] for i in range(len(LENGTH_EDGES)))
    edges = (*map(float, LENGTH_EDGES), 1e9)
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
