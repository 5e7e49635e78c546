"""What a model says about rows, which rows it is shown, and how that is reported."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from steps.contracts.arrays import Mask
from steps.contracts.dataset import Dataset
from steps.contracts.records import SPLITS, Row, Split
from steps.contracts.reports import Histogram, Table
from steps.engines.progress.progress import Progress
from steps.engines.rowwise.undecided import UndecidedPolicy
from steps.screen.config import ModelAction

_COLUMNS = ["record_id", "content_id", "kind", "messages", "tools", "chosen", "rejected", "text"]
# Rows whose texts are held at once; the models cut them into batches.
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class ModelFinding:
    """What a model says about the row at `number` of the dataset. `undecided`: why there is no answer, else None."""

    number: int
    record_id: str
    action: ModelAction | None
    reason: str
    score: float | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
    undecided: str | None = None


@dataclass(frozen=True)
class ModelReport:
    """Counts by name, distributions, tables and notes of one model."""

    counts: dict[str, int]
    histograms: Sequence[Histogram] = ()
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()


class RowModel(AbstractContextManager["RowModel"], Protocol):
    """A model that says something about some rows."""

    @property
    def name(self) -> str:
        """As it stands in the report."""

    @property
    def undecided(self) -> UndecidedPolicy:
        """The config's policy."""

    def find(self, dataset: Dataset, keep: Mask) -> Iterator[ModelFinding]:
        """What it says about rows where `keep` is true, shape (rows,)."""

    def report(self) -> ModelReport:
        """For the stage's report, after `find`."""


def chosen_rows(
    dataset: Dataset, keep: Mask, splits: Sequence[Split], what: str
) -> Iterator[tuple[list[int], list[Row]]]:
    """Rows where `keep` is true and the split is one of `splits` (none counts as train), with their numbers."""
    codes = np.where(dataset.split_codes() < 0, SPLITS.index("train"), dataset.split_codes())
    wanted = keep & np.isin(codes, [SPLITS.index(s) for s in splits])
    with Progress(f"screen: {what}", int(wanted.sum())) as progress:
        for chunk in dataset.chunks(_COLUMNS):
            start = chunk.start
            for batch in chunk.table.to_batches(max_chunksize=_ROWS_AT_ONCE):
                here = np.flatnonzero(wanted[start : start + batch.num_rows])
                if len(here):
                    yield (here + start).tolist(), batch.take(here).to_pylist()
                    progress.advance(len(here))
                start += batch.num_rows


def histogram(title: str, unit: str, scores: Sequence[float]) -> Histogram:
    """Twenty bins from the lowest to the highest score; empty for no scores."""
    values = np.array(scores) if scores else np.zeros(0)
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    counts, edges = np.histogram(values, bins=20, range=(low, high if high > low else low + 1.0))
    return Histogram(title=title, unit=unit, edges=tuple(edges.tolist()), counts=tuple(counts.tolist()))


def tally(counts: Counter[str]) -> dict[str, int]:
    """Counts for a report, by name."""
    return dict(sorted(counts.items()))
