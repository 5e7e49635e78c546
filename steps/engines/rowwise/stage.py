"""What a stage that decides row by row tells its driver."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa

from steps.contracts.arrays import Mask
from steps.contracts.execution import Work
from steps.contracts.ledger import Verdict
from steps.contracts.records import Row
from steps.contracts.row_cache import Lookup, Origin

Decision = TypeVar("Decision")


@dataclass(frozen=True)
class Batch:
    """Rows to decide about.

    Attributes:
        results: of each row, what an earlier run found out about it, as the row cache holds it; None: it is new.
        marked: of each row, whether the first look said more than that it is to be decided.
        shared: of each row, whether its result is of another step of this run.
    """

    rows: pa.Table
    results: Sequence[str | None]
    marked: Sequence[bool]
    shared: Sequence[bool]

    def part(self, start: int, stop: int) -> "Batch":
        """The rows at positions [start, stop)."""
        rows, here = self.rows.slice(start, stop - start), slice(start, stop)
        return Batch(rows, self.results[here], self.marked[here], self.shared[here])


@dataclass(frozen=True)
class FirstLook:
    """Which rows are to be decided, and which of them are `marked` (None: none); shape (rows,) both."""

    needed: Mask
    marked: Mask | None = None


@dataclass(frozen=True)
class Line:
    """A line of the ledger."""

    verdict: Verdict
    reason: str
    score: float | None = None
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Fate:
    """What becomes of a row: its lines (dropped, quarantined and flagged say where it goes), and its new content."""

    lines: Sequence[Line] = ()
    row: Row | None = None


class RowStage(ABC, Generic[Decision]):
    """A stage for `driver.drive`. Its work and codec depend on the row and its origin only.

    Attributes:
        columns: what is read; None: every column, as a stage needs that rewrites rows.
        row_columns: what `fate` is given of a row.
        key_columns: what a decision depends on beside what the row says (`content_id`).
        rewrites: whether rows may get new content.
        origin: what a decision depends on beside the row.
        work: decides about a batch: one decision per row, in order, wherever it runs.
        here: the same, prepared in this process; None: not made yet.
    """

    name: str
    columns: Sequence[str] | None = None
    row_columns: Sequence[str]
    key_columns: Sequence[str] = ()
    rewrites: bool = False
    origin: Origin
    work: Work[Batch, Sequence[Decision]]
    here: Callable[[Batch], Sequence[Decision]] | None = None

    def first_look(self, new: pa.Table) -> FirstLook:
        """Which of these rows, of which nothing is known, are to be decided. About the others there is nothing to say.

        It is quick, and never too strict.
        """
        return FirstLook(np.ones(len(new), bool))

    def passing(self, table: pa.Table, lookup: Lookup) -> None:
        """All rows, chunk by chunk, before `fate` is asked about some of them."""

    @abstractmethod
    def fate(self, row: Row, decision: Decision) -> Fate:
        """What becomes of a row; in the order of the rows."""

    @abstractmethod
    def encoded(self, decision: Decision) -> str | None:
        """The decision for the row cache; "": there is nothing to say; None: undecided, to be tried again."""
