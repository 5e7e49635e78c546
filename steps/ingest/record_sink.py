"""The counters of one ingest: every row that was read is kept, turned into others, or dropped with a reason."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from steps.contracts.arrays import Numbers
from steps.contracts.dataset import DatasetWriter
from steps.contracts.digests import canonical_json, short_id
from steps.contracts.ledger import LedgerWriter
from steps.contracts.records import SCHEMA, Row, make_row
from steps.contracts.reports import Example
from steps.contracts.tombstones import ERASED, Tombstones
from steps.engines.formats.format import Draft
from steps.ingest.config import IngestConfig, SourceConfig
from steps.ingest.mix import MixPlan, hash64, sampled
from steps.ingest.readers import Bad, Raw, plain
from steps.ingest.rejects import FIRST, Reject, RejectWriter

# Chosen: a batch is written when it has this many rows or characters.
_BATCH_ROWS = 4_096
_BATCH_CHARS = 16 << 20
# Characters per row are counted in bins 0, 1, 2-3, 4-7 ...: index = bit length.
_BINS = 33
# Chosen: rows that go wrong do so in few ways; of more reasons the first are shown.
MOST_REASONS = 20
REJECTED = "rejected: "


@dataclass
class SourceCounters:
    """Counts of one source, one example per format, and the first rejects of each reason.

    `bytes` as stored (packed), 0 for the hub. `lengths` counts kept rows by the bit length of their number of
    characters.
    """

    rows: int = 0
    created: int = 0
    kept: int = 0
    changed: int = 0
    rejected: int = 0
    # rows that may be lost in places where none could be told, beyond those that are rejected
    lost: int = 0
    bytes: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    rejected_by: Counter[str] = field(default_factory=Counter)
    cleaned: Counter[str] = field(default_factory=Counter)
    # what rows have beside what is used, and how many have it
    noted: Counter[str] = field(default_factory=Counter)
    lengths: list[int] = field(default_factory=lambda: [0] * _BINS)
    examples: dict[str, Example] = field(default_factory=dict)
    rejects: dict[str, list[Example]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class RecordSink:
    """Writes rows, ledger lines and rejects, and counts them."""

    def __init__(
        self, config: IngestConfig, writer: DatasetWriter, ledger: LedgerWriter, rejects: RejectWriter,
        tombstones: Tombstones | None = None,
    ) -> None:  # fmt: skip
        """`tombstones`: rows that are refused, and leave nothing but a line that names the erasure."""
        self.config, self.writer, self.ledger, self.rejects = config, writer, ledger, rejects
        self.tombstones = tombstones or Tombstones()
        self.counters = {s.name: SourceCounters() for s in config.sources}
        self.mix = MixPlan() if config.sources[0].weight is not None else None
        self._index = {s.name: i for i, s in enumerate(config.sources)}
        self._batch: list[Row] = []
        self._chars = 0
        self._places: list[int] | None = None
        self._place = 0

    def reject(self, source: SourceConfig, path: str, item: Raw | Bad, reason: str, hint: str) -> None:
        """A row that can't be read: reject file and ledger."""
        weight = item.weight if isinstance(item, Bad) else 1
        bad = Bad(item.locator, item.line, item.raw, reason, hint, weight)
        self.reject_record(source, path, short_id(path, item.locator, item.raw), bad)

    def reject_record(self, source: SourceConfig, path: str, record_id: str, item: Bad) -> None:
        """The same for a row whose id was made before."""
        if self.tombstones and (erasure := self.tombstones.refusing_raw(path, record_id, item.raw)):
            self._erased(erasure)
            return
        reason, hint = item.reason, item.hint
        counters = self.counters[source.name]
        counters.rejected_by[reason] += 1
        counters.rejected += 1
        counters.lost += item.weight - 1
        self.rejects.add(Reject(path, item.locator, item.line, reason, hint), item.raw)
        self.drop(record_id, reason, {"source": path, "locator": item.locator, "hint": hint})
        first = counters.rejects.setdefault(reason, [])
        if len(first) < FIRST:
            text = f"{path}, {item.locator}: {hint}"[:300]
            first.append(Example(record_id=record_id, reason=f"{REJECTED}{reason}", text=text))

    def drop(self, record_id: str, reason: str, evidence: dict[str, Any] | None = None) -> None:
        """A row that doesn't go on by itself, though it could be read."""
        self.ledger.add(self.tombstones.named(record_id), "dropped", reason, evidence=evidence)

    def _erased(self, erasure: str) -> None:
        """A row that a person had erased: not even its id is kept."""
        self.ledger.add(erasure, "dropped", ERASED)

    def row(self, source: SourceConfig, path: str, item: Raw, draft: Draft) -> Row:
        """The record of a row that is kept as it was read."""
        return _make(source, path, item.locator, item.raw, draft, [])

    def child(self, source: SourceConfig, path: str, locator: str, draft: Draft, parents: list[str]) -> Row:
        """A record made from others. Its content and its parents stand for its raw bytes."""
        raw = canonical_json([parents, draft.text or [m["content"] for m in draft.messages + draft.chosen]])
        return _make(source, path, locator, raw.encode("utf-8", "surrogatepass"), draft, parents)

    def keep(self, source: SourceConfig, row: Row, how: str, *, cleaned: tuple[str, ...] = ()) -> None:
        """Write a row unless sampling leaves it out. `how` names the format, for the example in the report."""
        if self.tombstones and (erasure := self.tombstones.refusing(row)):
            self._erased(erasure)
            return
        value = hash64(self.config.seed, row["content_id"]) if source.sample < 1 or self.mix else 0
        if source.sample < 1 and not sampled(value, source.sample):
            self.drop(row["record_id"], "sampled_out")
            return
        counters = self.counters[source.name]
        if cleaned:
            counters.changed += 1
            counters.cleaned.update(cleaned)
            self.ledger.add(row["record_id"], "changed", "cleaned", evidence={"what": list(cleaned)})
        if self.mix:
            self.mix.add(self._index[source.name], value, row["record_id"])
        if how not in counters.examples:
            counters.examples[how] = Example(record_id=row["record_id"], reason=how, text=_shape(row))
        self._write(source, row)

    def create(self, source: SourceConfig, row: Row, reason: str, how: str) -> None:
        """Write a row made from others."""
        if self.tombstones and self.tombstones.refusing(row):
            return
        self.counters[source.name].created += 1
        self.ledger.add(row["record_id"], "created", reason, parents=row["parents"])
        self.keep(source, row, how)

    def _write(self, source: SourceConfig, row: Row) -> None:
        chars = len(row["text"] or "")
        for column in ("messages", "chosen", "rejected"):
            for m in row[column]:
                chars += len(m["content"])
        counters = self.counters[source.name]
        counters.lengths[min(chars.bit_length(), _BINS - 1)] += 1
        counters.kept += 1
        self._batch.append(row)
        if self._places is not None:
            self._places.append(self._place)
            return
        self._chars += chars + len(row["meta"])
        if len(self._batch) >= _BATCH_ROWS or self._chars >= _BATCH_CHARS:
            self.flush()

    @contextmanager
    def block(
        self, source: SourceConfig, table: pa.Table, places: Numbers, lengths: Numbers
    ) -> Iterator[Callable[[int], None]]:
        """Keep the rows of `table` (SCHEMA), of `lengths` characters, and those written meanwhile, in order of places.

        What it gives is told the place of the rows that are written next.
        """
        self.flush()
        counters = self.counters[source.name]
        self._places = []
        try:
            yield self._places_at
            written, others = self._batch, np.array(self._places, np.int64)
        finally:
            self._batch, self._chars, self._places, self._place = [], 0, None, 0
        if self.tombstones:
            stays, erasures = self.tombstones.refused(table)
            table, places, lengths = table.filter(pa.array(stays)), places[stays], lengths[stays]
            for erasure in erasures:
                self._erased(erasure)
        counters.kept += table.num_rows
        bins = np.minimum(np.ceil(np.log2(lengths + 1)).astype(np.int64), _BINS - 1)
        counters.lengths = [
            a + int(b) for a, b in zip(counters.lengths, np.bincount(bins, minlength=_BINS), strict=True)
        ]
        if written:
            table = pa.concat_tables([table, pa.Table.from_pylist(written, schema=SCHEMA)])
        order = np.concatenate([places, others])
        if (np.diff(order) < 0).any():
            table = table.take(pa.array(np.argsort(order, kind="stable")))
        self.writer.write(table)

    def _places_at(self, place: int) -> None:
        self._place = place

    def flush(self) -> None:
        """Hand the rows gathered so far to the writer."""
        if self._batch:
            self.writer.write_rows(self._batch)
            self._batch, self._chars = [], 0


def _make(source: SourceConfig, path: str, locator: str, raw: bytes, draft: Draft, parents: list[str]) -> Row:
    def made(meta: Row) -> Row:
        return make_row(
            kind=draft.kind, source=path, locator=locator, raw=raw, messages=draft.messages, chosen=draft.chosen,
            rejected=draft.rejected, tools=draft.tools, text=draft.text, label=draft.label,
            score=draft.score, parents=parents, meta=meta, batch=source.batch,
        )  # fmt: skip

    try:
        return made(draft.meta)
    except (ValueError, TypeError):  # a number beyond JSON's range (1e999), a date
        return made(plain(draft.meta))


def _shape(row: Row) -> str:
    """What a row looks like without its text, which nobody has scrubbed yet."""
    if row["kind"] == "document":
        return f"document: {len(row['text'] or ''):,} characters"
    sides = [("", row["messages"]), ("chosen ", row["chosen"]), ("rejected ", row["rejected"])]
    turns = [f"{side}{m['role']} {len(m['content']):,}" for side, ms in sides for m in ms]
    return f"{row['kind']}: characters per turn: {', '.join(turns)}"[:300]
