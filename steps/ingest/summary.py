"""The report of an ingest."""

from collections.abc import Iterable

from steps.contracts.digests import value_digest
from steps.contracts.reports import Histogram, StageReport, Table
from steps.engines.progress.progress import Stopwatch
from steps.ingest.config import IngestConfig
from steps.ingest.intake import MOST_EXAMPLES, REJECTED, Intake, SourceBooks


def summarize(
    config: IngestConfig, intake: Intake, kept: int, kinds: dict[str, int], notes: list[str], watch: Stopwatch
) -> StageReport:
    """Counts per format, source, kind and reason, the sources as a table, characters per row as a histogram."""
    total = _total(intake.books.values())
    counts = {
        "rows read per format": dict(sorted(total.formats.items())),
        "rows read per source": {name: b.rows for name, b in intake.books.items()},
        "rows kept per kind": kinds,
        "rows rejected per reason": dict(total.rejected_by.most_common()),
        "text cleaned": dict(sorted(total.cleaned.items())),
    }
    dropped = dict(intake.ledger.counts["dropped"].most_common())
    return StageReport(
        stage="ingest", rows_in=total.rows, created=total.created, kept=kept, dropped=sum(dropped.values()),
        changed=total.changed, dropped_by=dropped, counts={k: v for k, v in counts.items() if v},
        histograms=(_histogram(total.lengths),), tables=(_sources(config, intake),),
        examples=tuple(total.examples.values()), notes=(*total.notes, *notes),
        config_digest=value_digest(config.model_dump()), seconds=watch.seconds, cpu_seconds=watch.cpu_seconds,
    ).balanced()  # fmt: skip


def _total(parts: Iterable[SourceBooks]) -> SourceBooks:
    """All sources as one, in their order."""
    total = SourceBooks()
    for books in parts:
        total.rows += books.rows
        total.created += books.created
        total.changed += books.changed
        total.formats.update(books.formats)
        total.rejected_by.update(books.rejected_by)
        total.cleaned.update(books.cleaned)
        total.lengths = [a + b for a, b in zip(total.lengths, books.lengths, strict=True)]
        total.notes += books.notes
        for label, example in books.examples.items():
            if not label.startswith(REJECTED) or len(total.examples) < MOST_EXAMPLES:
                total.examples.setdefault(label, example)
    return total


def _histogram(lengths: list[int]) -> Histogram:
    used = [i for i, n in enumerate(lengths) if n] or [0]
    first, last = used[0], used[-1]
    edges = tuple(float(1 << (i - 1)) if i else 0.0 for i in range(first, last + 2))
    return Histogram(
        title="characters per kept row", unit="characters", edges=edges, counts=tuple(lengths[first : last + 1])
    )


def _sources(config: IngestConfig, intake: Intake) -> Table:
    rows = []
    for source in config.sources:
        books = intake.books[source.name]
        formats = ", ".join(f for f, _ in books.formats.most_common())
        rows.append((source.name, formats, books.rows, books.rejected, source.licence or "not stated", books.bytes))
    columns = ("source", "format", "rows", "rejected", "licence", "bytes")
    return Table(title="sources", columns=columns, rows=tuple(rows))
