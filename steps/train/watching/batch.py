"""A batch as the trainer is given it: which tokens are trained, whose they are, where rows border on each other.

Columns of a batch become spans by their meaning, not by the objective: `input_ids` (or whatever ends so) are tokens;
`labels`, `completion_mask` or `loss_mask` say what is trained, `attention_mask` what is padding. Which row a token
belongs to is found out by a second pass of the same trainer over rows whose tokens are their own addresses
(`capture.py`), so that neither packing nor the order of the rows is imitated here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

IGNORED = -100

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Place(NamedTuple):
    """Where a token comes from: the row (by its number among the encoded ones), the column, and its place there."""

    row: int
    part: str
    position: int


@dataclass(frozen=True)
class Span:
    """Tokens of one row that stand side by side in a line of a batch.

    Attributes:
        row: number of the row among the encoded ones, None where it isn't known; part: "" or the column it is of, such
            as chosen.
        start: position of its first token in the row.
        whole: tokens that the row has in this part.
        input_ids, trained: shape (tokens,).
    """

    row: int | None
    part: str
    start: int
    whole: int
    input_ids: Ints
    trained: Bools

    @property
    def cut_before(self) -> bool:
        """Whether its beginning stands in another line."""
        return self.start > 0

    @property
    def cut_after(self) -> bool:
        """Whether its end stands in another line, or nowhere."""
        return self.start + len(self.input_ids) < self.whole


@dataclass(frozen=True)
class Line:
    """One line of a batch: its spans, and how many tokens of padding stand before and after them."""

    spans: tuple[Span, ...]
    left: int
    right: int

    @property
    def tokens(self) -> int:
        """Tokens without padding."""
        return sum(len(s.input_ids) for s in self.spans)

    @property
    def trained(self) -> int:
        """Tokens that the loss is of."""
        return sum(int(s.trained.sum()) for s in self.spans)


@dataclass(frozen=True)
class Addresses:
    """What numbers that stand for tokens mean: every token of every column has its own.

    Attributes:
        parts: names of the columns; offsets: per column where each of its rows begins, shape (rows + 1,).
    """

    parts: tuple[str, ...]
    offsets: tuple[Ints, ...]

    def place(self, address: int) -> Place | None:
        """The token that a number stands for; None: it is none of a row's."""
        for part, offsets in zip(self.parts, self.offsets, strict=True):
            if offsets[0] <= address < offsets[-1]:
                row = int(np.searchsorted(offsets, address, side="right")) - 1
                return Place(row, part, int(address - offsets[row]))
        return None

    def length(self, place: Place) -> int:
        """Tokens of the row in that column."""
        offsets = self.offsets[self.parts.index(place.part)]
        return int(offsets[place.row + 1] - offsets[place.row])


def lines_of(columns: Mapping[str, Any], addresses: Addresses | None, shadow: Mapping[str, Any] | None) -> list[Line]:
    """The lines of one forward pass.

    Args:
        columns: arrays of shape (lines, tokens) by name, as collated; others are passed over.
        shadow: the same of rows whose tokens are their addresses; None: whose token is whose isn't known.
    """
    return [line for name in token_columns(columns) for line in _lines(columns, name, addresses, shadow)]


def token_columns(columns: Mapping[str, Any]) -> list[str]:
    """Names of the columns that hold a batch's tokens."""
    return [n for n in columns if n.endswith("input_ids") and getattr(columns[n], "ndim", 0) == 2]


def _lines(
    columns: Mapping[str, Any], name: str, addresses: Addresses | None, shadow: Mapping[str, Any] | None
) -> Iterator[Line]:
    ids = np.asarray(columns[name], np.int64)
    prefix = name.removesuffix("input_ids")
    trained = _trained(columns, prefix, ids)
    real = _real(columns, prefix, ids)
    found = np.asarray(shadow[name], np.int64) if shadow is not None else None
    for i in range(len(ids)):
        places = [addresses.place(int(a)) for a in found[i]] if addresses is not None and found is not None else None
        yield _line(ids[i], trained[i], real[i], places, addresses)


def _trained(columns: Mapping[str, Any], prefix: str, ids: Ints) -> Bools:
    """Shape of `ids`. Without a column that says so nothing is trained: the tokens are prompts."""
    if f"{prefix}labels" in columns:
        return np.asarray(np.asarray(columns[f"{prefix}labels"]) != IGNORED)
    for name in ("loss_mask", "completion_mask"):
        mask = columns.get(f"{prefix}{name}")
        if mask is not None and getattr(mask, "shape", None) == ids.shape:
            return np.asarray(np.asarray(mask) != 0)
    return np.zeros(ids.shape, bool)


def _real(columns: Mapping[str, Any], prefix: str, ids: Ints) -> Bools:
    """Where there is no padding, shape of `ids`."""
    mask = columns.get(f"{prefix}attention_mask")
    if mask is None or getattr(mask, "shape", None) != ids.shape:
        return np.ones(ids.shape, bool)
    return np.asarray(np.asarray(mask) != 0)


def _line(
    ids: Ints, trained: Bools, real: Bools, places: Sequence[Place | None] | None, addresses: Addresses | None
) -> Line:
    at = np.flatnonzero(real)
    if not len(at):
        return Line((), 0, len(ids))
    first, stop = int(at[0]), int(at[-1]) + 1
    spans = tuple(_spans(ids, trained, first, stop, places, addresses))
    return Line(spans, first, len(ids) - stop)


def _spans(
    ids: Ints, trained: Bools, first: int, stop: int, places: Sequence[Place | None] | None, addresses: Addresses | None
) -> Iterator[Span]:
    if places is None or addresses is None or any(p is None for p in places[first:stop]):
        yield Span(None, "", 0, stop - first, ids[first:stop], trained[first:stop])
        return

    def run(i: int) -> tuple[int, str, int]:
        place = places[i]
        assert place is not None
        return place.row, place.part, i - place.position

    for _, group in groupby(range(first, stop), key=run):
        here = list(group)
        place = places[here[0]]
        assert place is not None
        a, b = here[0], here[-1] + 1
        yield Span(place.row, place.part, place.position, addresses.length(place), ids[a:b], trained[a:b])
