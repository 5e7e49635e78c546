"""Which data set a row belongs to, and which rows are looked at."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from steps.contracts.arrays import Numbers
from steps.contracts.dataset import Dataset
from steps.contracts.errors import ConfigError

# Record ids, each 32 hexadecimal digits.
Ids: TypeAlias = npt.NDArray[np.bytes_]
# Chosen: so many names of sources are told, then their number.
_NAMED = 3


@dataclass(frozen=True)
class Sets:
    """The data sets.

    Attributes:
        names: of the one or two. rows: of each.
        ids: of all rows, ascending; codes: the set of each, in their order.
        drawn: of each row a number that the seed and its id alone decide, in their order.
        against: sources of the second set.
    """

    names: tuple[str, ...]
    rows: tuple[int, ...]
    ids: Ids
    codes: npt.NDArray[np.int8]
    drawn: npt.NDArray[np.uint64]
    against: frozenset[str] = frozenset()

    def code_of_source(self, source: str) -> int:
        """The set of a source, or of a file of it."""
        return int(source.partition("/")[0] in self.against)

    def codes_of(self, ids: Ids) -> Numbers:
        """The set of each row; -1: none, since it wasn't read."""
        if not len(self.ids):
            return np.full(len(ids), -1, np.int64)
        places = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[places] == ids, self.codes[places], -1).astype(np.int64)

    def counted(self, codes: Numbers) -> list[int]:
        """How many of these rows each set has."""
        return [int(n) for n in np.bincount(codes[codes >= 0], minlength=len(self.names))]

    def chosen(self, most: int) -> dict[bytes, tuple[int, int]]:
        """The set, and the place in its sample, of up to `most` rows of each."""
        found: dict[bytes, tuple[int, int]] = {}
        for code in range(len(self.names)):
            here = np.flatnonzero(self.codes == code)
            order = here[np.lexsort((self.ids[here], self.drawn[here]))][:most]
            found |= {self.ids[row]: (code, place) for place, row in enumerate(order.tolist())}
        return found


def sets_of(rows: Dataset, against: Sequence[str], seed: int) -> Sets:
    """The rows of the sources `against` beside all others; without any name there is one set.

    Raises:
        ConfigError: a name is no source's, or no source is left for the other set.
    """
    names: list[Ids] = []
    codes: list[npt.NDArray[np.int8]] = []
    seen: dict[str, int] = {}
    for chunk in rows.chunks(["record_id", "source"]):
        names.append(ids_of(chunk.table["record_id"]))
        sources = [s.partition("/")[0] for s in chunk.table["source"].to_pylist()]
        for source in sources:
            seen.setdefault(source, int(source in against))
        codes.append(np.array([seen[s] for s in sources], np.int8))
    _check(seen, against, rows.rows)
    ids = np.concatenate(names) if names else np.empty(0, "S32")
    order = np.argsort(ids, kind="stable")
    ids, found = ids[order], (np.concatenate(codes) if codes else np.empty(0, np.int8))[order]
    sets = 2 if against else 1
    counts = tuple(np.bincount(found, minlength=sets).tolist())
    named = tuple(_name([s for s, code in seen.items() if code == k]) for k in range(sets))
    return Sets(named, counts, ids, found, _drawn(ids, seed), frozenset(against))


def _check(seen: dict[str, int], against: Sequence[str], rows: int) -> None:
    unknown = [name for name in against if name not in seen]
    if not rows or not against:
        return
    where, known = "data_report.against", ", ".join(sorted(seen))
    if unknown:
        raise ConfigError(f"no rows of a source {unknown[0]!r}; there are some of {known}", where=where)
    if all(seen.values()):
        raise ConfigError(
            f"all sources that have rows ({known}) are named, so that there is nothing to set them beside", where=where,
            hint="name those of the second data set alone",
        )  # fmt: skip


def _name(sources: Sequence[str]) -> str:
    named = ", ".join(sorted(sources)[:_NAMED])
    more = len(sources) - _NAMED
    return f"{named} and {more} more" if more > 0 else named or "no rows"


def ids_of(column: pa.ChunkedArray | pa.Array) -> Ids:
    """Record ids as bytes."""
    return np.array(column.to_pylist(), "S32") if len(column) else np.empty(0, "S32")


def _drawn(ids: Ids, seed: int) -> npt.NDArray[np.uint64]:
    salt = seed.to_bytes(8, "little")
    digests = b"".join(hashlib.blake2b(i, digest_size=8, salt=salt).digest() for i in ids.tolist())
    return np.frombuffer(digests, np.uint64)


def chosen_rows(
    texts: Dataset, chosen: dict[bytes, tuple[int, int]], columns: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The chosen rows, as far as they are there; one row group is held at a time, of the chosen rows alone."""
    for chunk in texts.chunks(columns):
        ids = chunk.table["record_id"].to_pylist()
        wanted = [place for place, name in enumerate(ids) if name.encode() in chosen]
        if wanted:
            yield from chunk.table.take(pa.array(wanted)).to_pylist()
