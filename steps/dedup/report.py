"""What dedup says about itself. The text is not scrubbed yet, so only ids are shown."""

import numpy as np

from steps.contracts.digests import value_digest
from steps.contracts.ledger import LedgerWriter
from steps.contracts.reports import Example, Histogram, StageReport, Table
from steps.dedup.config import DedupConfig
from steps.dedup.decide import Decisions
from steps.engines.progress.progress import Stopwatch

_BINS = 20
_TOP = 10
_EXAMPLES = 5


def dedup_report(
    d: Decisions, ledger: LedgerWriter, config: DedupConfig, watch: Stopwatch, reused: int | None = None
) -> StageReport:
    """Counts, Jaccard histogram, largest clusters and examples by id. reused: rows known from a kept index."""
    return StageReport(
        stage="dedup",
        rows_in=len(d.keep),
        kept=int(d.keep.sum()),
        dropped=int((~d.keep).sum()),
        flagged=ledger.total("flagged"),
        dropped_by=dict(sorted(ledger.counts["dropped"].items())),
        flagged_by=dict(sorted(ledger.counts["flagged"].items())),
        counts=_counts(d),
        histograms=(_jaccard_histogram(d),),
        tables=(_clusters(d),),
        examples=_examples(d),
        notes=_notes(d, config, reused),
        config_digest=value_digest(config.model_dump(mode="json")),
        seconds=watch.seconds,
        cpu_seconds=watch.cpu_seconds,
    )


def _counts(d: Decisions) -> dict[str, dict[str, int]]:
    conflicting = d.contradictions.answers > 1
    return {
        "comparison": {
            "distinct token streams": d.streams,
            "exact comparisons": d.compared,
            "streams whose comparisons were capped": d.capped,
        },
        "contradictions": {
            "prompts with different answers": d.contradictions.prompts,
            "rows": int(conflicting.sum()),
            "dropped as duplicates": int((conflicting & ~d.keep & ~d.contradictions.dropped).sum()),
        },
        "symbols": _symbols(d),
    }


def _symbols(d: Decisions) -> dict[str, int]:
    exact = np.flatnonzero((d.witness >= 0) & ~d.near & ~d.contradictions.dropped)
    words = np.sort(d.prints.plain[d.keep])
    again = words[1:] == words[:-1]
    alike = np.append(again, False) | np.insert(again, 0, False) if len(words) else again
    return {
        "rows compared with their symbols": int(d.prints.symbolic.sum()),
        "rows dropped that differ from their kept row in symbols only": int(
            (d.prints.signs[exact] != d.prints.signs[d.witness[exact]]).sum()
        ),
        "rows kept that differ from another kept row in symbols only": int(alike.sum()),
    }


def _jaccard_histogram(d: Decisions) -> Histogram:
    scores = d.score[d.near]
    edges = np.arange(_BINS + 1) / _BINS
    counts, _ = np.histogram(scores, bins=edges)
    return Histogram(
        title="Near duplicates: exact Jaccard with the kept row",
        unit="Jaccard of shingle sets",
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
    )


def _clusters(d: Decisions) -> Table:
    displaced = d.witness[~d.keep & ~d.contradictions.dropped]
    kept, counts = np.unique(displaced, return_counts=True)
    least = np.sort(counts)[-_TOP:][:1]
    likely = kept[counts >= least] if len(kept) else kept
    count_of = dict(zip(kept.tolist(), counts.tolist(), strict=True))
    ranked = d.prints.in_order(likely).tolist()
    top = sorted(((row, count_of[row]) for row in ranked), key=lambda found: -found[1])[:_TOP]
    return Table(
        title="Kept rows that displaced most rows",
        columns=("kept record_id", "rows displaced"),
        rows=tuple((d.prints.record_ids[row].decode(), count) for row, count in top),
    )


def _examples(d: Decisions) -> tuple[Example, ...]:
    """The first near duplicates in canonical order, by id only."""
    shown = d.prints.in_order(np.flatnonzero(d.near))[:_EXAMPLES].tolist()
    return tuple(
        Example(
            record_id=d.prints.record_ids[row].decode(),
            reason="near_duplicate",
            text="",
            evidence={
                "witness": d.prints.record_ids[d.witness[row]].decode(),
                "jaccard": round(float(d.score[row]), 4),
            },
        )
        for row in shown
    )


def _banding(config: DedupConfig) -> str:
    used = config.banding
    return (
        f"{used.bands} bands of {used.rows}: {used.recall(config.threshold):.2%} of the pairs at or above"
        f" {config.threshold:g} are expected to meet, were every similarity from there to 1 equally frequent, and"
        f" {used.meets(config.threshold):.1%} of those right at it."
    )


def _notes(d: Decisions, config: DedupConfig, reused: int | None) -> tuple[str, ...]:
    notes = ["Examples name rows without their text: personal data is not removed yet at this stage."]
    if reused is not None:
        why = " (contradictions: drop_all needs all rows)" if config.contradictions == "drop_all" else ""
        notes.append(f"{reused} rows known from the earlier run, {len(d.keep) - reused} rows read{why}.")
    notes.append(_banding(config) if config.near else "Near duplicates were not looked for (near: false).")
    if d.capped:
        notes.append(
            f"{d.capped} rows met more than {config.max_comparisons} similar rows; some comparisons were left out,"
            " so near duplicates among them can remain. Raise max_comparisons to compare them all."
        )
    hidden = _counts(d)["contradictions"]["dropped as duplicates"]
    if unlike := _symbols(d)["rows dropped that differ from their kept row in symbols only"]:
        notes.append(
            f"{unlike} of the rows dropped as exact duplicates differ from the kept row in punctuation or other"
            " symbols: where those matter, set symbols: true."
        )
    if hidden:
        notes.append(
            f"{hidden} rows dropped as duplicates share their prompt with a row that answers differently:"
            " see `contradicts` in the ledger."
        )
    return tuple(notes)
