"""Data that grows: the same stage over more and more rows, with and without what it kept from the run before."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from support.textrows import dataset

from steps.contracts.dataset import Dataset
from steps.contracts.outcome import Outcome
from steps.contracts.records import Row
from steps.contracts.row_cache import RowCache

# (rows, folder, row_cache) -> outcome
Stage = Callable[[Dataset, Path, RowCache | None], Outcome]
# What two equal runs may differ in.
MEASURED = {"seconds", "cpu_seconds", "notes", "usage"}


def batchings(rows: Sequence[Row], seed: int) -> list[list[Row]]:
    """The rows as they grow: each list holds the one before it, some rows more, and all in another order."""
    dice = random.Random(seed)
    cuts = sorted(dice.sample(range(1, len(rows)), dice.randint(1, min(4, len(rows) - 1))))
    shuffled = dice.sample(list(rows), len(rows))
    return [dice.sample(shuffled[:cut], cut) for cut in [*cuts, len(rows)]]


def lines(outcome: Outcome) -> Counter[str]:
    """The ledger as a multiset of lines."""
    return Counter(str(sorted(line.items())) for line in outcome.ledger.read().to_pylist())


def same(one: Outcome, other: Outcome) -> None:
    """Rows, set-aside rows, ledger lines and counts are equal."""
    for a, b in ((one.rows, other.rows), (one.quarantined, other.quarantined)):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            assert a.digest == b.digest
            assert Counter(map(str, a.iter_rows())) == Counter(map(str, b.iter_rows()))
    assert lines(one) == lines(other)
    left, right = (o.report.model_dump(exclude=MEASURED) for o in (one, other))
    assert left == right


def grown_equals_whole(rows: Sequence[Row], stage: Stage, folder: Path, seed: int) -> tuple[int, int]:
    """Run over growing batches with row cache, compare each with a run without. Returns rows (reused, computed)."""
    row_cache: RowCache | None = None
    seen: set[str] = set()
    reused = computed = 0
    for number, batch in enumerate(batchings(rows, seed)):
        here = folder / str(number)
        data = dataset(batch, here / "in", shard_rows=random.Random(seed).randint(1, len(batch)))
        grown = stage(data, here / "grown", row_cache)
        same(grown, stage(data, here / "whole", None))
        contents = {r["content_id"] + r["meta"] for r in batch}
        reused += len(contents & seen)
        computed += len(contents - seen)
        seen |= contents
        (kept,) = (made for made in grown.artifacts.values() if isinstance(made, RowCache))
        row_cache = RowCache.open(kept.folder)
    return reused, computed
