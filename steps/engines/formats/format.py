"""What a row format is: how a row of it is recognised, read into records, and written from one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from steps.contracts.records import Kind, Row

Pairs: TypeAlias = Literal["best_worst", "all"]


@dataclass(frozen=True)
class Reading:
    """How the rows of a source are read.

    Attributes:
        roles: the source's own names of roles, in lower case, and what they mean (one of ROLES).
        pairs: which pairs are made of ranked responses.
    """

    roles: Mapping[str, str] = field(default_factory=dict)
    pairs: Pairs = "best_worst"


AS_USUAL = Reading()


@dataclass
class Draft:
    """A record before it has ids."""

    kind: Kind
    messages: list[Row] = field(default_factory=list)
    chosen: list[Row] = field(default_factory=list)
    rejected: list[Row] = field(default_factory=list)
    tools: str | None = None
    text: str | None = None
    label: bool | None = None
    score: float | None = None
    meta: Row = field(default_factory=dict)


@dataclass
class Parsed:
    """What one row says.

    Attributes:
        drafts: one record, or several that are made from the row.
        used: the columns that were used.
        notes: what a reader of the report should know, once for each time that it is true of the row.
        made: what several drafts are.
    """

    drafts: list[Draft]
    used: tuple[str, ...]
    notes: tuple[str, ...] = ()
    made: Literal["pair", "answer"] = "pair"


@dataclass(frozen=True)
class Format:
    """One row format.

    Attributes:
        looks: whether a row (columns to values) looks like it.
        read: the drafts that a row makes, a function of the row and the reading alone; it raises RowRejected. None:
            rows of it belong together, and their reader is a module of its own (message trees).
        write: a record as a row of it, which reads as the same content; it raises RowRejected for what the format
            can't express, and drops nothing. None: it isn't written.
    """

    looks: Callable[[Row], bool]
    read: Callable[[Row, Reading], Parsed] | None = None
    write: Callable[[Row], Row] | None = None
