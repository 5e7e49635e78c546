"""The report of an ingest."""

from collections.abc import Iterable

from steps.contracts.digests import value_digest
from steps.contracts.reports import Example, Histogram, StageReport, Table
from steps.engines.progress.progress import Stopwatch
from steps.ingest.config import IngestConfig
from steps.ingest.record_sink import MOST_REASONS, RecordSink, SourceCounters
from steps.ingest.rejects import FIRST

# Chosen: a file with hundreds of columns is described by its commonest.
_MOST_NOTES = 20


def summarize(
    config: IngestConfig, sink: RecordSink, kept: int, kinds: dict[str, int], notes: list[str], watch: Stopwatch
) -> StageReport:
    """Counts per format, source, kind and reason, the sources as a table, characters per row as a histogram."""
    total = _total(sink.counters.values())
    counts = {
        "rows read per format": dict(sorted(total.formats.items())),
        "rows read per source": {name: b.rows for name, b in sink.counters.items()},
        "rows kept per kind": kinds,
        "rows rejected per reason": dict(total.rejected_by.most_common()),
        "text cleaned": dict(sorted(total.cleaned.items())),
    }
    dropped = dict(sink.ledger.counts["dropped"].most_common())
    return StageReport(
        stage="ingest", rows_in=total.rows, created=total.created, kept=kept, dropped=sum(dropped.values()),
        changed=total.changed, dropped_by=dropped, counts={k: v for k, v in counts.items() if v},
        histograms=(_histogram(total.lengths),), tables=(_sources(config, sink),),
        examples=_examples(total), notes=(*total.notes, *_noted(total), *notes),
        config_digest=value_digest(config.model_dump()), seconds=watch.seconds, cpu_seconds=watch.cpu_seconds,
    ).balanced()  # fmt: skip


def _total(parts: Iterable[SourceCounters]) -> SourceCounters:
    """All sources as one, in their order."""
    total = SourceCounters()
    for counters in parts:
        total.rows += counters.rows
        total.created += counters.created
        total.changed += counters.changed
        total.formats.update(counters.formats)
        total.rejected_by.update(counters.rejected_by)
        total.cleaned.update(counters.cleaned)
        total.lengths = [a + b for a, b in zip(total.lengths, counters.lengths, strict=True)]
        total.notes += counters.notes
        total.noted.update(counters.noted)
        for label, example in counters.examples.items():
            total.examples.setdefault(label, example)
        for reason, first in counters.rejects.items():
            total.rejects[reason] = [*total.rejects.get(reason, ()), *first][:FIRST]
    return total


def _examples(total: SourceCounters) -> tuple[Example, ...]:
    """One row per format, and the first rejects of the commonest reasons."""
    reasons = [reason for reason, _ in total.rejected_by.most_common(MOST_REASONS)]
    return (*total.examples.values(), *(e for reason in reasons for e in total.rejects.get(reason, ())))


def _noted(total: SourceCounters) -> list[str]:
    return [f"{rows:,} × {note}" for note, rows in total.noted.most_common(_MOST_NOTES)]


def _histogram(lengths: list[int]) -> Histogram:
    used = [i for i, n in enumerate(lengths) if n] or [0]
    first, last = used[0], used[-1]
    edges = tuple(float(1 << (i - 1)) if i else 0.0 for i in range(first, last + 2))
    return Histogram(
        title="characters per kept row", unit="characters", edges=edges, counts=tuple(lengths[first : last + 1])
    )


def _sources(config: IngestConfig, sink: RecordSink) -> Table:
    rows = []
    for source in config.sources:
        counters = sink.counters[source.name]
        formats = ", ".join(f for f, _ in counters.formats.most_common())
        rows.append(
            (source.name, formats, counters.rows, counters.rejected, source.licence or "not stated", counters.bytes)
        )
    columns = ("source", "format", "rows", "rejected", "licence", "bytes")
    return Table(title="sources", columns=columns, rows=tuple(rows))
