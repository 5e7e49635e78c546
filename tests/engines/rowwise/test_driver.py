"""The loop of row-wise stages: batches, cache and workers leave no trace in the result; a row that kills is named."""

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.growing import same
from support.labour import shortening
from support.textrows import dataset, document

from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.errors import InputError, WorkerDiedError
from steps.contracts.execution import Executor, Inline, Work
from steps.contracts.ledger import LedgerWriter
from steps.contracts.outcome import Outcome
from steps.contracts.records import Row, content_id_of
from steps.contracts.reports import StageReport
from steps.contracts.row_cache import Origin
from steps.engines.execution.processes import Processes
from steps.engines.rowwise.driver import drive
from steps.engines.rowwise.stage import Batch, Fate, FirstLook, Line, RowStage
from steps.engines.rowwise.undecided import UndecidedPolicy, becomes, undecided

POISON = "arsenic"


class Shorten(RowStage[int | None]):
    """Drops texts of more than 40 characters, flags those of more than 30, and cuts those of more than 20."""

    name = "shorten"
    row_columns = ("record_id", "text")
    rewrites = True

    def __init__(self, poison: str = "") -> None:
        self.origin = Origin(stage="shorten", config="c")
        self.work = Work(shortening, poison, "shorten")
        self.decided = 0

    def first_look(self, new: pa.Table) -> FirstLook:
        return FirstLook(pa.compute.greater(pa.compute.utf8_length(new["text"]), 5).to_numpy())

    def fate(self, row: Row, decision: int | None) -> Fate:
        self.decided += 1
        if decision is None:
            return Fate((Line("undecided", "why"), Line("quarantined", "why")))
        if decision > 40:
            return Fate((Line("dropped", "long", decision),))
        if decision > 30:
            return Fate((Line("flagged", "longish", decision),))
        return Fate((Line("changed", "cut"),), _cut(row)) if decision > 20 else Fate()

    def encoded(self, decision: int | None) -> str | None:
        return None if decision is None else str(decision) if decision > 20 else ""


class Here(Shorten):
    """The same, with its work prepared in this process, which reads what is cached."""

    def __init__(self) -> None:
        super().__init__()
        self.here = _reading


def _reading(batch: Batch) -> list[int | None]:
    fresh = shortening("")(batch)
    return [n if known is None else int(known) for n, known in zip(fresh, batch.results, strict=True)]


def _cut(row: Row) -> Row:
    new = {**document(row["text"][:20], locator="x"), "record_id": row["record_id"]}
    return {**new, "content_id": content_id_of(new)}


def run(stage: Shorten, rows: Dataset, folder: Path, executor: Executor, earlier: Any = None) -> Outcome:
    ctx = StageContext(folder, earlier={"shorten_row_cache": earlier}, executor=executor)
    with LedgerWriter(folder / "ledger.parquet", "shorten") as lines:
        return drive(stage, rows, ctx, lines).outcome(
            lines,
            lambda kept: StageReport(
                stage="shorten",
                rows_in=rows.rows,
                kept=kept,
                dropped=lines.total("dropped"),
                dropped_by=dict(lines.counts["dropped"]),
                quarantined=lines.total("quarantined"),
                quarantined_by=dict(lines.counts["quarantined"]),
                config_digest="",
                seconds=0,
                cpu_seconds=0,
            ),
        )


def texts(seed: int, n: int) -> list[Row]:
    dice = random.Random(seed)
    said = ["undecidable" if dice.random() < 0.05 else "a" * dice.randint(0, 50) for _ in range(n)]
    return [document(text, locator=f"line:{i}") for i, text in enumerate(said)]


def cache_rows(outcome: Outcome) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(
        outcome.artifacts["shorten_row_cache"].folder / "results.parquet"
    ).to_pylist()
    return found


@pytest.mark.parametrize("seed", range(8))
def test_batches_and_what_is_cached_leave_no_trace(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    rows = texts(seed, 200)
    data = dataset(rows, tmp_path / "in", shard_rows=dice.randint(20, 200))
    whole = run(Shorten(), data, tmp_path / "whole", Inline())
    cut = run(Here(), data, tmp_path / "cut", Inline(dice.randint(1, 60)))
    part = run(Here(), dataset(rows[:120], tmp_path / "some"), tmp_path / "part", Inline())
    grown = run(Here(), data, tmp_path / "grown", Inline(dice.randint(1, 60)), part.artifacts["shorten_row_cache"])
    for other in (cut, grown):
        same(whole, other)
        assert whole.ledger.read() == other.ledger.read()
        assert cache_rows(whole) == cache_rows(other)
    wanted = {r["record_id"]: r["text"] for r in rows if len(r["text"]) <= 40 and r["text"] != "undecidable"}
    kept = {r["record_id"]: r["text"] for r in whole.rows.iter_rows()}
    assert kept == {i: text[:20] if 20 < len(text) <= 30 else text for i, text in wanted.items()}
    assert {r["text"] for r in whole.quarantined.iter_rows()} == {"undecidable"}


def test_processes_leave_no_trace_and_little_is_decided(tmp_path: Path) -> None:
    data = dataset(texts(1, 300), tmp_path / "in", shard_rows=70)
    stage = Shorten()
    whole = run(stage, data, tmp_path / "whole", Inline())
    many = run(Shorten(), data, tmp_path / "many", Processes(3, batch_rows=11))
    same(whole, many)
    assert whole.ledger.read() == many.ledger.read() and cache_rows(whole) == cache_rows(many)
    assert stage.decided == sum(len(r["text"]) > 5 for r in texts(1, 300))


@pytest.mark.slow
def test_a_row_that_kills_every_worker_is_named(tmp_path: Path) -> None:
    rows = texts(2, 60)
    rows[37] = document(f"a text with {POISON}", locator="line:37")
    with pytest.raises(WorkerDiedError, match=f"died 3 times.*: row {rows[37]['record_id']}"):
        run(Shorten(POISON), dataset(rows, tmp_path / "in"), tmp_path / "out", Processes(2, batch_rows=20))


@pytest.mark.parametrize("policy, word", [("keep", "undecided"), ("drop", "dropped"), ("quarantine", "quarantined")])
def test_what_becomes_of_undecided_rows(policy: UndecidedPolicy, word: str) -> None:
    assert undecided(policy, lambda: InputError("never")) == becomes(policy) == word


def test_fail_raises_and_the_row_is_noted_as_undecided_until_then() -> None:
    with pytest.raises(InputError, match="row 7"):
        undecided("fail", lambda: InputError("row 7"))
    assert becomes("fail") == "undecided"
