"""What ingest keeps about its sources between runs: a source that hasn't changed isn't read again.

Its rows, ledger lines and rejects stand next to each other in the earlier run's artifacts; what is kept is where.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
from pydantic import AliasChoices, Field, TypeAdapter, ValidationError

from steps.contracts.dataset import Dataset, DatasetWriter
from steps.contracts.digests import value_digest
from steps.contracts.errors import IntegrityError
from steps.contracts.ledger import Ledger
from steps.contracts.reports import Frozen
from steps.contracts.storage import write_whole
from steps.contracts.tombstones import INPUT
from steps.ingest.config import IngestConfig, SourceConfig
from steps.ingest.record_sink import RecordSink, SourceCounters

SOURCES = "sources.json"
# They say where a source lies and under which terms, or which share of rejects is too much; rows don't depend on them.
_NOT_OF_A_ROW = {"path", "token_env", "licence"}
_NOT_OF_A_SOURCE = {"sources", "max_reject_share"}

# Positions [start, stop) in the rows, the ledger lines and the rejects of a run.
Range = tuple[int, int]


class SourceState(Frozen):
    """What a source's rows depend on: digests of its settings, of its files' digests, and of code and libraries;
    `erased`: of the list of erased rows, "" while nothing was erased.
    """

    settings: str
    files: str
    code: str
    erased: str = ""


class SourceRecord(Frozen):
    """One source as it was read, where its rows, lines and rejects are, and its counts (SourceCounters as JSON)."""

    state: SourceState
    rows: Range
    lines: Range
    rejects: Range
    # Earlier versions wrote it as `books`.
    counters: dict[str, Any] = Field(validation_alias=AliasChoices("counters", "books"))


_RECORDS = TypeAdapter(dict[str, SourceRecord])
_COUNTERS = TypeAdapter(SourceCounters)


@dataclass(frozen=True)
class EarlierIngest:
    """The artifacts of an earlier ingest; `sources` is the file that `write_records` wrote."""

    dataset: Dataset
    ledger: Ledger
    rejects: Path
    sources: Path

    @classmethod
    def among(cls, artifacts: Mapping[str, Any]) -> Self | None:
        """Those of an earlier run; None when it left none."""
        if artifacts.get("ingest_sources") is None:
            return None
        rejects, sources = artifacts["rejects"], artifacts["ingest_sources"]
        return cls(artifacts["ingested"], artifacts["ingest_ledger"], rejects.path, sources.path)

    @cached_property
    def lines(self) -> pa.Table:
        """The ledger, read once for all sources."""
        return self.ledger.read()

    def records(self) -> dict[str, SourceRecord]:
        """The sources by name.

        Raises:
            IntegrityError: the file can't be read.
        """
        try:
            return _RECORDS.validate_json(self.sources.read_bytes())
        except ValidationError as e:
            hint = "run once with `reuse: null`: everything is read anew"
            raise IntegrityError(
                f"no record of sources: {e.errors()[0]['msg']}", where=str(self.sources), hint=hint
            ) from e


@dataclass(frozen=True)
class Position:
    """How far a reading is: rows, ledger lines and rejects written so far."""

    rows: int
    lines: int
    rejects: int


def states(config: IngestConfig, digests: Mapping[str, str], code: str) -> dict[str, SourceState]:
    """What each source's rows depend on; `digests` as `ingest.input_digests` gives them.

    None of them when rows are mixed by weight: which rows stay then depends on the other sources.
    """
    if any(s.weight is not None for s in config.sources):
        return {}
    common = config.model_dump(mode="json", exclude=_NOT_OF_A_SOURCE)
    return {
        s.name: SourceState(
            settings=value_digest([common, s.model_dump(mode="json", exclude=_NOT_OF_A_ROW)]),
            files=value_digest({k: v for k, v in digests.items() if k.startswith(f"{s.name}/")}),
            code=code,
            erased=digests.get(INPUT, ""),
        )
        for s in config.sources
    }


def why_read(then: SourceState, now: SourceState) -> str | None:
    """Why an earlier reading can't stand for one now; None when it can."""
    if then.files != now.files:
        return "its files changed"
    if then.settings != now.settings:
        return "its settings changed"
    if then.erased != now.erased:
        return "rows were erased"
    return "the code of ingest or one of its libraries changed" if then.code != now.code else None


def position(sink: RecordSink, writer: DatasetWriter) -> Position:
    """How far the reading is; everything gathered is handed to the writer first."""
    sink.flush()
    return Position(writer.rows, sink.ledger.rows, sink.rejects.rows)


def record(state: SourceState, before: Position, after: Position, counters: SourceCounters) -> SourceRecord:
    """A source that was read, or taken over, between two places."""
    return SourceRecord(
        state=state,
        rows=(before.rows, after.rows),
        lines=(before.lines, after.lines),
        rejects=(before.rejects, after.rejects),
        counters=_COUNTERS.dump_python(counters, mode="json"),
    )


def take_over(
    source: SourceConfig, then: SourceRecord, earlier: EarlierIngest, sink: RecordSink, writer: DatasetWriter
) -> None:
    """The source's rows, lines, rejects and counts as the earlier run had them; rows by sharing their shards."""
    writer.share(earlier.dataset, *then.rows)
    first, end = then.lines
    if end > first:
        sink.ledger.add_table(earlier.lines.slice(first, end - first).drop_columns(["stage"]))
    if then.rejects[1] > then.rejects[0]:
        sink.rejects.copy(earlier.rejects, *then.rejects)
    sink.counters[source.name] = _COUNTERS.validate_python(then.counters)


def write_records(path: Path, records: Mapping[str, SourceRecord]) -> None:
    """Keep the records for the next run."""
    write_whole(path, _RECORDS.dump_json(dict(records), indent=1))
