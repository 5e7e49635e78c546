"""The report of the stage."""

from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from itertools import pairwise

from steps.contracts.digests import value_digest
from steps.contracts.ledger import LedgerWriter
from steps.contracts.reports import Example, Histogram, StageReport, Table
from steps.engines.progress.progress import Stopwatch
from steps.scrub.config import ScrubConfig
from steps.scrub.counters import Counters
from steps.scrub.coverage import HOW_TO_GET_A_MODEL, table, uncovered
from steps.scrub.pseudonyms.key import key_fingerprint

_EDGES = (1, 2, 3, 5, 10, 20, 50)


def report(
    counters: Counters, config: ScrubConfig, key: bytes, ledger: LedgerWriter, rows: tuple[int, int], watch: Stopwatch
) -> StageReport:
    """The stage's report; `rows` is (rows in, rows kept)."""
    entities = sorted(counters.findings, key=lambda e: (-counters.findings[e], e))
    return StageReport(
        stage="scrub",
        rows_in=rows[0],
        kept=rows[1],
        dropped=ledger.total("dropped"),
        quarantined=ledger.total("quarantined"),
        changed=ledger.total("changed"),
        undecided=ledger.total("undecided"),
        dropped_by=dict(ledger.counts["dropped"]),
        quarantined_by=dict(ledger.counts["quarantined"]),
        counts={
            "findings by entity": _sorted(counters.findings),
            "findings by recognizer": _sorted(counters.recognizers),
            "findings by field": _sorted(counters.fields),
            "changed rows by split": _sorted(counters.splits),
        },
        histograms=(_per_row(counters.per_row),) if counters.per_row else (),
        tables=(
            _found(counters, entities),
            *([_surrogates(counters)] if counters.surrogates else []),
            table(config),
        ),
        examples=tuple(
            Example(record_id=record, reason=entity, text=f"{masked} -> {name}", evidence={"entity": entity})
            for entity in entities
            for record, masked, name in counters.samples[entity]
        ),
        notes=_notes(config, key),
        config_digest=value_digest(config.model_dump(mode="json")),
        seconds=watch.seconds,
        cpu_seconds=watch.cpu_seconds,
    )


def _found(counters: Counters, entities: Sequence[str]) -> Table:
    return Table(
        title="Personal data found",
        columns=("entity", "findings", "rows", "distinct values"),
        rows=tuple((e, counters.findings[e], counters.rows[e], len(counters.values[e])) for e in entities),
    )


def _surrogates(counters: Counters) -> Table:
    return Table(
        title="Surrogates: fewer than values means that some values met in one",
        columns=("entity", "distinct values", "distinct surrogates"),
        rows=tuple((e, len(counters.values[e]), len(made)) for e, made in sorted(counters.surrogates.items())),
    )


def _sorted(counter: Counter[str]) -> dict[str, int]:
    return dict(sorted(counter.items(), key=lambda item: (-item[1], item[0])))


def _per_row(per_row: Counter[int]) -> Histogram:
    top = float(max(*per_row, _EDGES[-1]) + 1)
    edges = [*map(float, _EDGES), top]
    counts = [sum(n for k, n in per_row.items() if a <= k < b) for a, b in pairwise(edges)]
    return Histogram(title="Findings per changed row", unit="findings", edges=tuple(edges), counts=tuple(counts))


def _notes(config: ScrubConfig, key: bytes) -> tuple[str, ...]:
    notes = [f"pseudonym key fingerprint: {key_fingerprint(key)}"]
    if config.mode == "surrogate":
        notes.append(f"surrogates: words of faker {version('faker')}; scrubbing them again would replace them again")
    if config.demo_key:
        notes.append("DEMO KEY: anyone can test guesses against these pseudonyms; never use it with private data")
    if config.ner is not None:
        notes.append(f"NER: {config.ner.engine} model {config.ner.model} for {', '.join(config.ner.entities)}")
    if missing := uncovered(config):
        why = "NER is off (no model named in scrub.ner)" if config.ner is None else "the NER model isn't asked for them"
        notes.append(f"not covered: {', '.join(missing)}: {why}. How to get one: {HOW_TO_GET_A_MODEL}")
    if config.profile:
        notes.append(f"profiles: {', '.join(config.profile)}; the coverage table says what none of them finds")
    notes.append("plain ids of tool calls, base64, and numbers with a decimal point in JSON are not searched")
    return tuple(notes)
