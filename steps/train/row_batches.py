"""The rows of a split in batches: which can be used, what is known of those, and what is found of the new ones."""

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from steps.contracts.dataset import Dataset
from steps.contracts.records import Row
from steps.engines.template.lint import Linted
from steps.train.token_cache import CachedTokens, Keys, keys_of

# Why a row can't be used at all (a reason code); None: it is encoded. It is given the columns OF_ROW.
Refusal: TypeAlias = Callable[[Row], str | None]
# What a refusal and the ledger are given of a row.
OF_ROW = ("record_id", "content_id", "kind", "source", "label")
# Chosen: what is done for a batch as a whole costs little per row, and its tokens are some megabytes.
BATCH_ROWS = 256


@dataclass(frozen=True)
class RowBatch:
    """Rows, and why each can't be used (None: it can).

    Attributes:
        keys, known: of the rows that can be used: the cache's keys, and what is known.
        new: the whole rows of which nothing is.
    """

    rows: list[Row]
    refusals: list[str | None]
    keys: Keys
    known: list[Linted | None]
    new: pa.Table

    def filled(self, linted: Sequence[Linted]) -> list[Linted]:
        """What is known, with what was found of the new rows."""
        found = iter(linted)
        return [next(found) if known is None else known for known in self.known]


def wanted_tables(
    dataset: Dataset, split: str | None, limit: int | None, refusal: Refusal, columns: Sequence[str]
) -> Iterator[pa.Table]:
    """The split's rows; with a limit so many of those that can be used, with the smallest content ids."""
    rows = dataset.rows if split is None else dataset.manifest.splits.get(split, 0)
    wanted = None if limit is None or limit >= rows else _smallest_ids(dataset, split, limit, refusal)
    for table in dataset.tables(columns, split):
        yield table if wanted is None else table.filter(pc.is_in(table["content_id"], wanted))


def judged(
    tables: Iterator[pa.Table], refusal: Refusal, cached: CachedTokens, pool: Any, size: int | None
) -> Iterator[tuple[RowBatch, list[Linted]]]:
    """Batches of `size` rows (None: BATCH_ROWS), each with what is found of its rows that can be used: what is new by
    `pool`, which is kept in the cache.
    """
    in_hand = deque[RowBatch]()
    batches = _batches(tables, refusal, cached, size or BATCH_ROWS)
    for linted in pool.results(_handed_out(batches, in_hand)):
        batch = in_hand.popleft()
        found = batch.filled(linted)
        cached.keep(batch.keys, found)
        yield batch, found


def _batches(tables: Iterator[pa.Table], refusal: Refusal, cached: CachedTokens, size: int) -> Iterator[RowBatch]:
    for table in tables:
        for start in range(0, len(table), size):
            part = table.slice(start, size)
            rows = part.select(OF_ROW).to_pylist()
            refusals = [refusal(row) for row in rows]
            due = part.filter(pa.array([reason is None for reason in refusals], pa.bool_()))
            keys = keys_of(due)
            known = cached.find(keys)
            yield RowBatch(rows, refusals, keys, known, due.filter(pa.array([k is None for k in known], pa.bool_())))


def _handed_out(batches: Iterator[RowBatch], in_hand: deque[RowBatch]) -> Iterator[pa.Table]:
    for batch in batches:
        in_hand.append(batch)
        yield batch.new


def _smallest_ids(dataset: Dataset, split: str | None, limit: int, refusal: Refusal) -> pa.Array:
    """Content ids of the rows that can be used, the smallest ones."""
    rows = (row for table in dataset.tables(OF_ROW, split=split) for row in table.to_pylist())
    smallest = heapq.nsmallest(limit, (row["content_id"] for row in rows if refusal(row) is None))
    return pa.array(smallest, pa.string())
