"""The one loop of all stages that decide row by row: cache, chunks, masks, ledger, new content, progress."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

import numpy as np
import pyarrow as pa

from steps.contracts.arrays import Mask
from steps.contracts.context import StageContext
from steps.contracts.dataset import Chunk, Dataset, Rewriter
from steps.contracts.errors import WorkerDiedError
from steps.contracts.execution import Executor, Pool
from steps.contracts.ledger import LedgerWriter
from steps.contracts.outcome import Outcome
from steps.contracts.records import SCHEMA, Row
from steps.contracts.reports import StageReport
from steps.contracts.row_cache import CachedRows, Keys, Lookup, row_keys
from steps.engines.progress.progress import Progress
from steps.engines.rowwise.stage import Batch, Decision, Fate, RowStage

_STAYS = {"kept", "changed", "flagged", "undecided"}


@dataclass(frozen=True)
class Driven:
    """What became of the rows. Masks have shape (rows,): a later part of the stage may change them."""

    rows: Dataset
    name: str
    folder: Path
    keep: Mask
    quarantined: Mask
    flagged: Mask
    cached: CachedRows
    rewriter: Rewriter | None

    def outcome(self, lines: LedgerWriter, report: Callable[[int], StageReport], **artifacts: Any) -> Outcome:
        """Name the versions and close the row cache; `report` is given the number of rows kept."""
        ledger = lines.close()
        after = self.rewriter.close() if self.rewriter else self.rows.select(self.keep, self.folder, self.name)
        quarantined = self.rows.select(self.quarantined, self.folder / "quarantined", self.name)
        done = report(after.rows)
        done = done.model_copy(update={"notes": (*done.notes, *self.cached.notes())})
        made = {f"{self.name}_row_cache": self.cached.close(self.folder / "row_cache"), **artifacts}
        return Outcome(after, ledger, done.balanced(), quarantined, made)


@dataclass
class _Opened(Generic[Decision]):
    """A chunk with the numbers of the rows that go to the pool, and what was decided about them so far."""

    chunk: Chunk
    keys: Keys
    lookup: Lookup
    numbers: list[int]
    marked: Set[int]
    decisions: list[Decision] = field(default_factory=list)

    def batches(self, size: int | None) -> Iterator[Batch]:
        step = size or max(len(self.numbers), 1)
        for start in range(0, len(self.numbers), step):
            yield self.batch(self.numbers[start : start + step])

    def batch(self, numbers: list[int]) -> Batch:
        results = [self.lookup.results.get(n) for n in numbers]
        rows = self.chunk.table.take(pa.array(numbers, pa.int64()))
        shared = [n in self.lookup.shared for n in numbers]
        return Batch(rows, results, [n in self.marked for n in numbers], shared)


def drive(
    stage: RowStage[Decision],
    rows: Dataset,
    ctx: StageContext,
    lines: LedgerWriter,
    *,
    executor: Executor | None = None,
    progress: bool = True,
) -> Driven:
    """Decide about every row, in the context's executor unless one is named.

    Raises:
        WorkerDiedError: worker processes died on a row, which is named, or for another reason.
    """
    cached = CachedRows(stage.origin, ctx.earlier.get(f"{stage.name}_row_cache"), ctx.shares)
    rewriter = rows.rewriter(ctx.folder, stage.name) if stage.rewrites else None
    masks = (np.ones(rows.rows, bool), np.zeros(rows.rows, bool), np.zeros(rows.rows, bool))
    driven = Driven(rows, stage.name, ctx.folder, *masks, cached, rewriter)
    where = executor or ctx.executor
    with where.open(stage.work, stage.here) as pool, Progress(stage.name, rows.rows if progress else 0) as shown:
        loop = _Loop(stage, driven, lines, shown if progress else None)
        loop.run(pool, where.batch_rows)
    return driven


class _Loop(Generic[Decision]):
    """Chunks in order: those that were opened, until everything about them is decided."""

    def __init__(
        self, stage: RowStage[Decision], driven: Driven, lines: LedgerWriter, progress: Progress | None
    ) -> None:
        self._stage, self._driven, self._lines, self._progress = stage, driven, lines, progress
        self._opened: deque[_Opened[Decision]] = deque()

    def run(self, pool: Pool[Batch, Sequence[Decision]], batch_rows: int | None) -> None:
        """Open chunks as results are wanted, and end them in their order."""
        deciding = deque[_Opened[Decision]]()
        try:
            for decisions in pool.results(self._batches(deciding, batch_rows)):
                deciding.popleft().decisions.extend(decisions)
                self._end_decided()
        except WorkerDiedError as e:
            raise _named(e, pool) from e
        self._end_decided()

    def _batches(self, deciding: deque[_Opened[Decision]], batch_rows: int | None) -> Iterator[Batch]:
        for chunk in self._driven.rows.chunks(self._stage.columns):
            opened = self._open(chunk)
            self._opened.append(opened)
            for batch in opened.batches(batch_rows):
                deciding.append(opened)
                yield batch
            # A chunk about which nothing is to be decided isn't held until something is.
            self._end_decided()

    def _open(self, chunk: Chunk) -> _Opened[Decision]:
        """Look the rows up, and at those that are new."""
        keys = row_keys(chunk.table, self._stage.key_columns)
        lookup = self._driven.cached.look_up(keys)
        new = lookup.new
        known = [] if self._stage.here else list(lookup.results)
        if not len(new):
            return _Opened(chunk, keys, lookup, sorted(known), frozenset())
        look = self._stage.first_look(chunk.table if len(new) == len(keys) else chunk.table.take(pa.array(new)))
        marked = frozenset(new[look.marked].tolist()) if look.marked is not None else frozenset()
        return _Opened(chunk, keys, lookup, sorted([*new[look.needed].tolist(), *known]), marked)

    def _end_decided(self) -> None:
        while self._opened and len(self._opened[0].decisions) == len(self._opened[0].numbers):
            self._end(self._opened.popleft())

    def _end(self, opened: _Opened[Decision]) -> None:
        """Everything about the chunk is decided: write it down."""
        table, stage = opened.chunk.table, self._stage
        stage.passing(table, opened.lookup)
        decisions = self._decisions(opened)
        seen = table.select(list(stage.row_columns)).take(pa.array(list(decisions), pa.int64())).to_pylist()
        changed: dict[int, Row] = {}
        results: dict[int, str] = {}
        undecided: list[int] = []
        for (number, decision), row in zip(decisions.items(), seen, strict=True):
            fate = stage.fate(row, decision)
            self._write(opened.chunk.start + number, row["record_id"], fate)
            if fate.row is not None:
                changed[number] = fate.row
            result = opened.lookup.results.get(number) or stage.encoded(decision)
            if result is None:
                undecided.append(number)
            elif result:
                results[number] = result
        self._driven.cached.keep(opened.keys, results, undecided)
        if self._driven.rewriter is not None:
            stays = self._driven.keep[opened.chunk.start : opened.chunk.start + len(table)]
            self._driven.rewriter.put(opened.chunk, _with_rows(table, changed) if changed else None, stays)
        if self._progress is not None:
            self._progress.advance(len(table))

    def _decisions(self, opened: _Opened[Decision]) -> dict[int, Decision]:
        """Every decision by row number, in order. What is cached is worth no other process: it is read here."""
        decided = dict(zip(opened.numbers, opened.decisions, strict=True))
        known = sorted(opened.lookup.results)
        if self._stage.here is None or not known:
            return decided
        decided |= zip(known, self._stage.here(opened.batch(known)), strict=True)
        return dict(sorted(decided.items()))

    def _write(self, place: int, record_id: str, fate: Fate) -> None:
        for line in fate.lines:
            self._lines.add(record_id, line.verdict, line.reason, score=line.score, evidence=line.evidence)
            self._driven.keep[place] &= line.verdict in _STAYS
            self._driven.quarantined[place] |= line.verdict == "quarantined"
            self._driven.flagged[place] |= line.verdict == "flagged"


def _with_rows(table: pa.Table, new: Mapping[int, Row]) -> pa.Table:
    """The table with the rows of these numbers replaced; the others aren't read."""
    order = np.arange(len(table))
    order[list(new)] = len(table) + np.arange(len(new))
    replaced = pa.Table.from_pylist(list(new.values()), schema=SCHEMA)
    return pa.concat_tables([table.cast(SCHEMA), replaced]).take(order)


def _named(error: WorkerDiedError, pool: Pool[Batch, Any]) -> WorkerDiedError:
    """The error with the row that kills: halves of the batch are tried until one row is left."""
    batch = error.item
    while len(batch.rows) > 1:
        middle = len(batch.rows) // 2
        halves = [batch.part(0, middle), batch.part(middle, len(batch.rows))]
        try:
            deque(pool.results(halves), maxlen=0)
        except WorkerDiedError as e:
            batch = e.item
        else:
            return error
    row = batch.rows.select(["record_id"]).to_pylist()[0]
    return WorkerDiedError(f"{error.what}: row {row['record_id']}", batch, where=error.where, hint=error.hint)
