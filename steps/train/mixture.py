"""How often the rows of each source are seen in an epoch.

Which rows are seen once more, or not at all, is drawn by their contents and the seed: it doesn't depend on the order or
the sharding of a version, and the rows of a smaller share are among those of a larger one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from steps.contracts.dataset import Dataset
from steps.contracts.errors import TrainingDataError
from steps.contracts.ledger import LedgerWriter
from steps.contracts.records import SPLITS
from steps.contracts.reports import Frozen

Hashes: TypeAlias = npt.NDArray[np.uint64]
Codes: TypeAlias = npt.NDArray[np.int32]
LEFT_OUT = "mixture"
# Digits of a content id, which is a digest, that a draw is made of: 64 bits.
_HEX = 16


class Share(Frozen):
    """A part of an epoch, whatever the number of rows: for replay of general data beside one's own."""

    share: float = Field(gt=0, lt=1, description="Share of an epoch's rows that are of this source.")


Amounts: TypeAlias = Mapping[str, float | Share]


@dataclass(frozen=True)
class Mixture:
    """Amounts in force, by source.

    Attributes:
        times: how often a row is seen in an epoch, in the mean.
        last: the greatest draw with which a row is seen once more than `times` is whole.
        left_out: rows that are never seen.
    """

    seed: int
    times: Mapping[str, float] = field(default_factory=dict)
    last: Mapping[str, int] = field(default_factory=dict)
    left_out: int = 0


@dataclass
class Origins:
    """Where encoded rows come from. Arrays of one length: code of the source in `names`, hash of the row's content,
    trained tokens (those of a row, shared by all that is written of it).
    """

    names: Sequence[str]
    codes: Codes
    hashes: Hashes
    trained: npt.NDArray[np.float64]

    def repeats(self, mixture: Mixture) -> npt.NDArray[np.int64]:
        """How often each encoded row is seen in an epoch; shape (rows,)."""
        draws = draws_of(self.hashes, mixture.seed)
        found = np.ones(len(draws), np.int64)
        for code, name in enumerate(self.names):
            if name in mixture.times:
                here = self.codes == code
                once_more = draws[here] <= np.uint64(mixture.last[name]) if name in mixture.last else 0
                found[here] = int(mixture.times[name]) + once_more
        return found


def draws_of(hashes: Hashes, seed: int) -> Hashes:
    """A number for each content, uniform over 64 bits and another with each seed: SplitMix64's finalizer (Steele et al.
    2014, "Fast splittable pseudorandom number generators", fig. 16) of the sum of both.
    """
    with np.errstate(over="ignore"):
        x = hashes + np.uint64(seed + 1) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def hash_of(content_id: str) -> int:
    """The first 64 bits."""
    return int(content_id[:_HEX], 16)


def times_of(amounts: Amounts, rows: Mapping[str, int]) -> dict[str, float]:
    """How often a row of each source with an amount is seen per epoch. `rows`: the numbers of all sources' rows.

    Raises:
        TrainingDataError: a source has no rows, or shares leave nothing for the rest.
    """
    if missing := sorted(n for n in amounts if not rows.get(n)):
        raise TrainingDataError(
            f"no rows of source {', '.join(missing)}: there are {', '.join(sorted(n for n in rows if rows[n]))}",
            where="train.rows.mixture",
        )
    times = {n: a for n, a in amounts.items() if not isinstance(a, Share)}
    shares = {n: a.share for n, a in amounts.items() if isinstance(a, Share)}
    rest = sum(count * times.get(n, 1.0) for n, count in rows.items() if n not in shares)
    if shares and (sum(shares.values()) >= 1 or not rest):
        raise TrainingDataError(
            f"shares of {', '.join(shares)} need rows beside them: they sum to {sum(shares.values()):g}, and the other"
            f" sources have {rest:g} rows in an epoch",
            where="train.rows.mixture",
        )
    whole = rest / (1 - sum(shares.values()))
    return times | {n: share * whole / rows[n] for n, share in shares.items()}


def mixed(
    dataset: Dataset, split: str | None, amounts: Amounts, seed: int, ledger: LedgerWriter
) -> tuple[Dataset, Mixture]:
    """The version without the rows that are never seen, each of which goes to the ledger, and the amounts in force.

    Raises:
        TrainingDataError: see `times_of`.
    """
    if not amounts:
        return dataset, Mixture(seed)
    names, codes, hashes = _rows(dataset)
    inside = np.ones(dataset.rows, bool) if split is None else dataset.split_codes() == SPLITS.index(split)
    rows = {n: int(c) for n, c in zip(names, np.bincount(codes[inside], minlength=len(names)), strict=True)}
    times = times_of(amounts, rows)
    draws, last, keep = draws_of(hashes, seed), dict[str, int](), np.ones(dataset.rows, bool)
    for name, amount in times.items():
        here = inside & (codes == names.index(name))
        more = round((amount - int(amount)) * rows[name])
        if more:
            last[name] = int(np.partition(draws[here], more - 1)[more - 1])
        if amount < 1:
            keep[here] = draws[here] <= np.uint64(last[name]) if more else False
    _note(dataset, keep, times, ledger)
    return dataset.view(keep), Mixture(seed, times, last, int((~keep).sum()))


def source_loss(source: str) -> str:
    """What the validation loss of a source's rows is called, as transformers calls that of one of several data sets."""
    return f"eval_{source}_loss"


def source_names(table: pa.Table) -> Any:
    """A row's source without the path below it, which is the name that ingest gives it."""
    return pc.list_element(pc.split_pattern(table["source"], "/", max_splits=1), 0)


def _rows(dataset: Dataset) -> tuple[list[str], Codes, Hashes]:
    found = [
        (source_names(t), np.array(list(map(hash_of, t["content_id"].to_pylist())), np.uint64))
        for t in dataset.tables(["source", "content_id"])
    ]
    sources = pa.chunked_array([c for s, _ in found for c in s.chunks], pa.string())
    names = sorted(pc.unique(sources).to_pylist())
    codes = pc.index_in(sources, pa.array(names)).to_numpy()
    return names, codes.astype(np.int32), np.concatenate([h for _, h in found])


def _note(dataset: Dataset, keep: npt.NDArray[np.bool_], times: Mapping[str, float], ledger: LedgerWriter) -> None:
    for table in dataset.view(~keep).tables(["record_id", "source"]):
        for record_id, name in zip(table["record_id"].to_pylist(), source_names(table).to_pylist(), strict=True):
            ledger.add(record_id, "dropped", LEFT_OUT, evidence={"times": round(times[name], 6)})
