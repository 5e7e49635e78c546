"""Conversations as a prompt and its answer: rows of which a model makes others."""

from collections.abc import Sequence
from dataclasses import dataclass

from steps.contracts.dataset import Dataset
from steps.contracts.digests import short_id
from steps.contracts.errors import InputError
from steps.contracts.records import Row, Split, message

# Hex digits of a digest that are a number evenly spread from 0 to 1.
_DIGITS = 12


@dataclass(frozen=True)
class Prompted:
    """A row: the turns up to the user's last one, that one, and its answer."""

    row: Row
    before: tuple[Row, ...]
    question: str
    answer: str

    @property
    def record_id(self) -> str:
        """Of the row."""
        return str(self.row["record_id"])

    @property
    def split(self) -> Split:
        """Of the row; one without a label trains."""
        return self.row["split"] or "train"

    @property
    def turns(self) -> list[Row]:
        """What is asked."""
        return [*self.before, message("user", self.question)]

    def position(self, what: str) -> float:
        """A number from 0 to 1 that depends on the row and `what` alone."""
        return int(short_id(what, self.record_id)[:_DIGITS], 16) / float(1 << 4 * _DIGITS)


def prompted(row: Row, splits: Sequence[Split] = ("train",)) -> Prompted | None:
    """The row as a prompt with its answer; None where it is none: it is of another split, it is no conversation, it
    calls tools, or it doesn't end with a user's turn and its answer.
    """
    turns = row["messages"]
    if row["kind"] != "conversation" or (row["split"] or "train") not in splits or row["tools"] or len(turns) < 2:
        return None
    plain = all(not m["tool_calls"] and m["role"] in ("system", "user", "assistant") for m in turns)
    if not plain or turns[-1]["role"] != "assistant" or turns[-2]["role"] != "user":
        return None
    if not turns[-1]["content"].strip() or not turns[-2]["content"].strip():
        return None
    return Prompted(row, tuple(turns[:-2]), turns[-2]["content"], turns[-1]["content"])


def prompted_rows(rows: Dataset, where: str, splits: Sequence[Split] = ("train",)) -> list[Prompted]:
    """All of them, split by split, each in the order of their ids.

    Raises:
        InputError: none is of the first split. `where`: the stage that wants them.
    """
    found = [one for row in rows.iter_rows() if (one := prompted(row, splits)) is not None]
    if all(one.split != splits[0] for one in found):
        hint = "rows that are used are conversations of train, end with a user's turn and its answer, and call no tools"
        raise InputError("no row can be used", where=where, hint=hint)
    return sorted(found, key=lambda p: (splits.index(p.split), p.record_id))
