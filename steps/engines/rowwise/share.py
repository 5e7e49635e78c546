"""A share of the rows, decided by a step of its own: results that the stage's ordinary step then finds."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa

from steps.contracts.arrays import Mask
from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.execution import Executor
from steps.contracts.ledger import LedgerWriter
from steps.contracts.records import Row
from steps.contracts.row_cache import RowCache
from steps.engines.rowwise.driver import drive
from steps.engines.rowwise.stage import Fate, FirstLook, RowStage

Decision = TypeVar("Decision")


@dataclass(frozen=True)
class Share:
    """Every `of`th row from row `number` on (0 is the first): long rows of one source are spread over all shares."""

    number: int
    of: int


def share_of(
    stage: RowStage[Decision],
    rows: Dataset,
    ctx: StageContext,
    share: Share,
    executor: Executor | None = None,
    *,
    mine: Mask | None = None,
    progress: bool = True,
) -> RowCache:
    """What the stage decides about these rows, as its row cache holds it; it lies in `ctx.folder`. `mine`: which rows
    they are, shape (rows,), where it isn't as `Share` says.

    What an earlier run knows (`ctx.earlier`) is taken from there. Undecided rows aren't in it.

    Raises:
        as `drive`.
    """
    mine = np.arange(rows.rows) % share.of == share.number if mine is None else mine
    with LedgerWriter(ctx.folder / "ledger.parquet", stage.name) as lines:
        done = drive(_Deciding(stage), rows.view(mine), ctx, lines, executor=executor, progress=progress)
    return done.cached.close(ctx.folder / "row_cache")


class _Deciding(RowStage[Decision]):
    """A stage that decides, and to which nothing happens by it."""

    row_columns = ("record_id",)

    def __init__(self, stage: RowStage[Decision]) -> None:
        self._stage = stage
        self.name, self.columns, self.key_columns = stage.name, stage.columns, stage.key_columns
        self.origin, self.work, self.here = stage.origin, stage.work, stage.here

    def first_look(self, new: pa.Table) -> FirstLook:
        return self._stage.first_look(new)

    def fate(self, row: Row, decision: Decision) -> Fate:
        return Fate()

    def encoded(self, decision: Decision) -> str | None:
        return self._stage.encoded(decision)
