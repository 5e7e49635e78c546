"""What the semantic stage says about itself: pairs found, and how similar rows are near the threshold."""

from collections import Counter

import numpy as np

from steps.contracts.digests import value_digest
from steps.contracts.ledger import LedgerWriter
from steps.contracts.reports import Example, Histogram, StageReport, Table
from steps.engines.progress.progress import Stopwatch
from steps.semantic.config import SemanticConfig
from steps.semantic.decide import Decisions
from steps.semantic.embeddings import Embeddings
from steps.semantic.spill import TextSpill

# Chosen: the histogram covers this much of cosine below the threshold, in bins of a hundredth.
_BELOW = 0.2
_BIN = 0.01
_PAIRS = 20
_CHARACTERS = 300


def semantic_report(
    rows: Embeddings,
    found: Decisions,
    config: SemanticConfig,
    ledger: LedgerWriter,
    costs: tuple[str, ...],
    texts: TextSpill | None,
    watch: Stopwatch,
) -> StageReport:
    """Counts, similarities near the threshold, pairs. `texts` None: the rows aren't scrubbed, ids only. `costs`:
    what was read and what was known.
    """
    return StageReport(
        stage="semantic",
        rows_in=len(rows.kinds),
        kept=len(rows.kinds) - ledger.total("dropped") - ledger.total("quarantined"),
        dropped=ledger.total("dropped"),
        quarantined=ledger.total("quarantined"),
        flagged=ledger.total("flagged"),
        undecided=len(rows.failed),
        dropped_by=dict(sorted(ledger.counts["dropped"].items())),
        quarantined_by=dict(sorted(ledger.counts["quarantined"].items())),
        flagged_by=dict(sorted(ledger.counts["flagged"].items())),
        counts={
            "rows": {
                "compared": int(rows.compared.sum()),
                "without a text to compare": int(rows.empty.sum()),
                "longer than the model reads": int(rows.cut.sum()),
                "whose similar rows were not all looked at": int(found.capped.sum()),
            },
            "pairs": {"at or above the threshold, looked at": found.pairs},
            "without a vector": dict(sorted(Counter(rows.failed.values()).items())),
        },
        histograms=(_similarities(rows, found, config.threshold),),
        tables=(_pairs(rows, found, texts),),
        examples=_examples(rows, found, texts),
        notes=(*_notes(rows, found, config, texts is not None), *costs),
        config_digest=value_digest(config.model_dump(mode="json")),
        seconds=watch.seconds,
        cpu_seconds=watch.cpu_seconds,
    )


def _similarities(rows: Embeddings, found: Decisions, threshold: float) -> Histogram:
    """Highest cosine of each row with a row kept before it, dropped rows included; from 0.2 below the threshold."""
    first = max(0.0, threshold - _BELOW)
    edges = np.round(np.append(np.arange(first, 1.0 - _BIN / 2, _BIN), 1.0), 6)
    nearest = found.nearest[rows.compared & ~rows.held_out]
    counts, _ = np.histogram(np.minimum(nearest[np.isfinite(nearest)], 1.0), bins=edges)
    return Histogram(
        title=f"Highest cosine with a kept row (threshold {threshold:g})",
        unit="cosine",
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
    )


def _shown(rows: Embeddings, found: Decisions) -> list[int]:
    """Dropped rows to look at: the pairs nearest to the threshold first, since they are the doubtful ones."""
    dropped = np.flatnonzero(found.dropped)
    return [int(r) for r in dropped[np.lexsort((rows.record_ids[dropped], found.cosine[dropped]))][:_PAIRS]]


def _pairs(rows: Embeddings, found: Decisions, texts: TextSpill | None) -> Table:
    columns = ["cosine", "rerank", "dropped record_id", "kept record_id"]
    lines: list[tuple[str | int | float | None, ...]] = []
    for row in _shown(rows, found):
        other, second = int(found.witness[row]), float(found.second[row])
        ids = (rows.record_ids[row].decode(), rows.record_ids[other].decode())
        shown = () if texts is None else (_start(texts, row), _start(texts, other))
        lines.append((round(float(found.cosine[row]), 4), None if np.isnan(second) else round(second, 4), *ids, *shown))
    return Table(
        title="Pairs found, the most doubtful first",
        columns=(*columns, *(() if texts is None else ("dropped text", "kept text"))),
        rows=tuple(lines),
    )


def _examples(rows: Embeddings, found: Decisions, texts: TextSpill | None) -> tuple[Example, ...]:
    """The first of these pairs once more, by id, for the run's page."""
    return tuple(
        Example(
            record_id=rows.record_ids[row].decode(),
            reason="semantic_duplicate",
            text="" if texts is None else _start(texts, row),
            evidence={
                "witness": rows.record_ids[found.witness[row]].decode(),
                "cosine": round(float(found.cosine[row]), 4),
            },
        )
        for row in _shown(rows, found)[:5]
    )


def _start(texts: TextSpill, row: int) -> str:
    return texts.get(row)[:_CHARACTERS]


def _notes(rows: Embeddings, found: Decisions, config: SemanticConfig, shown: bool) -> tuple[str, ...]:
    model = config.embed.model or (config.embed.endpoint and config.embed.endpoint.model)
    notes = [
        f"Cosines are those of {model!r}, and the threshold of {config.threshold:g} means something for it alone:"
        " look at the pairs and the histogram before you trust it."
    ]
    if not found.exact:
        notes.append(
            "More rows than neighbours.exact_up_to: similar rows were looked up approximately, and some can remain."
        )
    if cut := int(rows.cut.sum()):
        done = "are kept and were not compared" if config.cut_texts == "keep" else "were compared by their beginning"
        notes.append(f"{cut} rows are longer than the model reads; they {done} (cut_texts).")
    if config.embed.endpoint is not None:
        notes.append("A server doesn't say which texts it cuts: rows longer than its model reads may be among them.")
    if found.capped.any():
        notes.append(
            f"{int(found.capped.sum())} kept rows have more than {config.max_neighbours} similar ones, of which only"
            " the nearest were shown to the second model. Raise max_neighbours to compare them all."
        )
    if not shown:
        notes.append("Pairs are shown by id only: personal data was not removed from these rows.")
    return tuple(notes)
