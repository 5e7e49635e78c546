"""What is written of a row for a trainer: of which columns, how it is judged, which of its sequences go together."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from steps.contracts.records import Row
from steps.engines.template.labelled import Labelled
from steps.engines.template.lint import Judge, Linted

TOKENS = pa.list_(pa.int32())


@dataclass(frozen=True)
class Kept:
    """A row that is trained on: its sequences that fit, each with its place among the row's."""

    row: Row
    sequences: tuple[tuple[int, Labelled], ...]


class RowForm(ABC):
    """A form of encoded rows; one without state, so that it goes to other processes by its class.

    Attributes:
        name: enters the key of the token cache.
        columns: what is read of a row; `record_id`, `content_id`, `kind`, `source` and `label` always.
        schema: of the Arrow file.
    """

    name: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    schema: ClassVar[pa.Schema]

    @abstractmethod
    def judged(self, judge: Judge, rows: Sequence[Row]) -> list[Linted]:
        """The sequences of each row, or why there are none."""

    def unfit(
        self, sequences: Sequence[Labelled], fitting: Sequence[tuple[int, Labelled]], limit: int, overlong: str
    ) -> str | None:
        """Why a row of which something is too long can't be used (a reason code); None: what fits is trained.

        Args:
            sequences: all of the row.
            fitting: those that are left within `limit` tokens, with their places.
            overlong: drop: only what is short enough is left; truncate: what is too long was cut.
        """
        if fitting:
            return None
        return "overlong" if overlong == "drop" else "overlong_prompt"

    def keys(self, kept: Kept) -> list[bytes]:
        """Per row of the file 32 bytes by which it is ordered, of which the last 16 are the record's id."""
        return [order_key(kept.row)] * len(kept.sequences)

    def answers(self, kept: Kept) -> list[str]:
        """What is said of the answers, to be counted."""
        return []

    @abstractmethod
    def batch(self, kept: Sequence[Kept]) -> pa.RecordBatch:
        """The rows of the file, in the order of `keys`."""


class Turns(RowForm):
    """The assistant's turns: a row of the file per sequence."""

    name = "turns"
    columns = ("record_id", "content_id", "kind", "source", "messages", "tools", "chosen", "text", "label", "meta")
    schema = pa.schema(
        [
            pa.field("input_ids", TOKENS, nullable=False),
            # input id where the token is trained, else -100
            pa.field("labels", TOKENS, nullable=False),
            pa.field("length", pa.int32(), nullable=False),
        ]
    )

    def judged(self, judge: Judge, rows: Sequence[Row]) -> list[Linted]:
        """As the mask lint has it."""
        return judge(rows)

    def batch(self, kept: Sequence[Kept]) -> pa.RecordBatch:
        """A row per sequence."""
        sequences = [s for row in kept for _, s in row.sequences]
        lengths = pa.array([len(s.input_ids) for s in sequences], pa.int32())
        return pa.record_batch([*token_lists(sequences), lengths], schema=self.schema)


TURNS = Turns()


def order_key(row: Row) -> bytes:
    """By content, then by record."""
    return bytes.fromhex(row["content_id"] + row["record_id"])


def token_lists(sequences: Sequence[Labelled]) -> list[Any]:
    """Two Arrow lists: the input ids and the labels of each sequence."""
    offsets = np.cumsum([0, *(len(s.input_ids) for s in sequences)], dtype=np.int32)
    columns = [np.concatenate([s.input_ids for s in sequences]), np.concatenate([s.labels for s in sequences])]
    return [pa.ListArray.from_arrays(pa.array(offsets), pa.array(values, pa.int32())) for values in columns]
