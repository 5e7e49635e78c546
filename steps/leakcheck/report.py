"""What the leak check says about itself: ids and counts, and matched passages where text may be shown."""

from collections import Counter

import numpy as np

from steps.contracts.digests import value_digest
from steps.contracts.ledger import LedgerWriter
from steps.contracts.reports import Example, Histogram, StageReport, Table
from steps.engines.progress.progress import Stopwatch
from steps.leakcheck.config import LeakCheckConfig
from steps.leakcheck.heldout import HeldOut
from steps.leakcheck.search import Findings, Found, Leak, Reason

_BINS = 20
_EXAMPLES = 3
_REASONS: tuple[Reason, ...] = ("equals_held_out", "near_held_out", "contains_held_out")


def leak_report(
    rows: int,
    found: Findings,
    held_out: HeldOut,
    ledger: LedgerWriter,
    config: LeakCheckConfig,
    watch: Stopwatch,
    passages: dict[str, str] | None,
) -> StageReport:
    """Leaks per reason and per held-out source, score histogram, examples by id, with the passages given.

    passages: None where personal data wasn't removed before, so that no text may be shown.
    """
    dropped = ledger.total("dropped")
    return StageReport(
        stage="leakcheck",
        rows_in=rows,
        kept=rows - dropped,
        dropped=dropped,
        dropped_by=dict(sorted(ledger.counts["dropped"].items())),
        counts={
            "checked": {"train rows": found.train_rows, **{f"{s} rows": n for s, n in held_out.sources.items()}},
            "boilerplate": {
                "shingles ignored": found.boilerplate_shingles,
                "overlap n-grams ignored": found.boilerplate_ngrams,
                "limit in train rows": found.boilerplate_limits[0],
                "limit in held-out rows": found.boilerplate_limits[1],
            },
        },
        histograms=(_histogram(found),),
        tables=(_by_source(found, held_out),),
        examples=_examples(found, held_out, passages or {}),
        notes=_notes(held_out, config, passages is not None),
        config_digest=value_digest(config.model_dump(mode="json")),
        seconds=watch.seconds,
        cpu_seconds=watch.cpu_seconds,
    )


def _histogram(found: Findings) -> Histogram:
    edges = np.arange(_BINS + 1) / _BINS
    counts, _ = np.histogram([leak.score for leak in _leaks(found)], bins=edges)
    return Histogram(
        title="Dropped train rows: similarity to the held-out row",
        unit="Jaccard (equals, near) or share of the held-out row's n-grams (contains)",
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
    )


def _by_source(found: Findings, held_out: HeldOut) -> Table:
    counts = Counter((held_out.names[leak.witness][0], leak.reason) for leak in _leaks(found))
    repeated = Counter(held_out.names[witness][0] for witness in {leak.witness for leak in _leaks(found)})
    return Table(
        title="Train rows dropped, by what they repeat",
        columns=("held-out source", "rows", "rows repeated in train", *_REASONS),
        rows=tuple((s, n, repeated[s], *(counts[s, r] for r in _REASONS)) for s, n in held_out.sources.items()),
    )


def shown(found: Findings) -> list[Found]:
    """The leaks that the report shows: some of each reason, by id."""
    by_id = sorted(found.leaks, key=lambda f: f.record_id)
    return [f for reason in _REASONS for f in [x for x in by_id if x.leak.reason == reason][:_EXAMPLES]]


def _leaks(found: Findings) -> list[Leak]:
    return [f.leak for f in found.leaks]


def _examples(found: Findings, held_out: HeldOut, passages: dict[str, str]) -> tuple[Example, ...]:
    return tuple(
        Example(
            record_id=f.record_id,
            reason=f.leak.reason,
            text=passages.get(f.record_id, ""),
            evidence={
                "against": held_out.names[f.leak.witness][0],
                "witness": held_out.names[f.leak.witness][1],
                **f.evidence,
            },
        )
        for f in shown(found)
    )


def _notes(held_out: HeldOut, config: LeakCheckConfig, scrubbed: bool) -> tuple[str, ...]:
    notes = []
    if not held_out.names:
        notes.append("Nothing is held out: no validation or test rows and no benchmark, so nothing could leak.")
    elif not config.benchmarks:
        notes.append("No benchmark file was named: train rows were checked against validation and test rows only.")
    elif scrubbed:
        notes.append(
            "Personal data was replaced in the train rows and not in the benchmark files: what holds some matches less."
            " Name files that assay stage scrub made, under the same settings and key, to compare like with like."
        )
    if held_out.short:
        notes.append(
            f"{held_out.short} held-out rows have fewer than {config.overlap_ngram} words: they are compared as whole"
            " rows, and not found inside longer train rows."
        )
    return tuple(notes)
