"""What the stage counts and reports. No value, only counts, pseudonyms and masked samples."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import pairwise

from steps.contracts.digests import value_digest
from steps.contracts.ledger import LedgerWriter
from steps.contracts.records import Row
from steps.contracts.reports import Example, Histogram, StageReport, Table
from steps.engines.progress.progress import Stopwatch
from steps.scrub.config import ScrubConfig
from steps.scrub.coverage import HOW_TO_GET_A_MODEL, table, uncovered
from steps.scrub.findings import Finding
from steps.scrub.pseudonyms.pseudonym import key_fingerprint, masked_sample, normalised

_EXAMPLES_PER_ENTITY = 2
_EDGES = (1, 2, 3, 5, 10, 20, 50)


@dataclass
class Books:
    """Counts of one run. `samples` keeps the smallest record ids per entity: the same in any row order."""

    findings: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    recognizers: Counter[str] = field(default_factory=Counter)
    fields: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    per_row: Counter[int] = field(default_factory=Counter)
    values: dict[str, set[str]] = field(default_factory=dict)
    made: dict[str, set[str]] = field(default_factory=dict)
    samples: dict[str, list[tuple[str, str, str]]] = field(default_factory=dict)

    def add(self, row: Row, spans: Sequence[tuple[str, Finding, str, str]]) -> None:
        """Count one changed row. A span is (path, finding, value, pseudonym); the value is only masked, never kept."""
        for path, finding, value, name in spans:
            entity = finding.entity
            self.findings[entity] += 1
            self.recognizers[finding.recognizer] += 1
            self.fields[path.split("/")[0]] += 1
            self.values.setdefault(entity, set()).add(name)
            best = [*self.samples.get(entity, []), (row["record_id"], masked_sample(value), name)]
            self.samples[entity] = sorted(set(best))[:_EXAMPLES_PER_ENTITY]
        self.rows.update({f.entity for _, f, _, _ in spans})
        self.splits[row["split"] or "(none)"] += 1
        self.per_row[len(spans)] += 1

    def add_made(self, made: Sequence[tuple[str, str]]) -> None:
        """Count the surrogates (entity, text) of one row: two values may have met in one."""
        for entity, text in made:
            self.made.setdefault(entity, set()).add(normalised(entity, text))


def report(
    books: Books, config: ScrubConfig, key: bytes, ledger: LedgerWriter, rows: tuple[int, int], watch: Stopwatch
) -> StageReport:
    """The stage's report; `rows` is (rows in, rows kept)."""
    entities = sorted(books.findings, key=lambda e: (-books.findings[e], e))
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
            "findings by entity": _sorted(books.findings),
            "findings by recognizer": _sorted(books.recognizers),
            "findings by field": _sorted(books.fields),
            "changed rows by split": _sorted(books.splits),
        },
        histograms=(_per_row(books.per_row),) if books.per_row else (),
        tables=(
            _found(books, entities),
            *([_met(books)] if books.made else []),
            table(config),
        ),
        examples=tuple(
            Example(record_id=record, reason=entity, text=f"{masked} -> {name}", evidence={"entity": entity})
            for entity in entities
            for record, masked, name in books.samples[entity]
        ),
        notes=_notes(config, key),
        config_digest=value_digest(config.model_dump(mode="json")),
        seconds=watch.seconds,
        cpu_seconds=watch.cpu_seconds,
    )


def _found(books: Books, entities: Sequence[str]) -> Table:
    return Table(
        title="Personal data found",
        columns=("entity", "findings", "rows", "distinct values"),
        rows=tuple((e, books.findings[e], books.rows[e], len(books.values[e])) for e in entities),
    )


def _met(books: Books) -> Table:
    return Table(
        title="Surrogates: fewer than values means that some values met in one",
        columns=("entity", "distinct values", "distinct surrogates"),
        rows=tuple((e, len(books.values[e]), len(made)) for e, made in sorted(books.made.items())),
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
    notes.append("JSON keys, numbers in JSON, and ids of tool calls are not searched")
    return tuple(notes)
