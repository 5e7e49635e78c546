"""What a row format is: how a row of it is recognised, read into records, and written from one."""

from collections.abc import Callable
from dataclasses import dataclass, field

from steps.contracts.records import Kind, Row


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
    """What one row says: one draft, or several pairs made from it, and the columns that were used."""

    drafts: list[Draft]
    used: tuple[str, ...]


@dataclass(frozen=True)
class Format:
    """One row format.

    Attributes:
        looks: whether a row (columns to values) looks like it.
        read: the drafts that a row makes; it raises RowRejected. None: rows of it belong together, and their reader is
            a module of its own (message trees).
        write: a record as a row of it, which reads as the same content; it raises RowRejected for what the format
            can't express, and drops nothing. None: it isn't written.
    """

    looks: Callable[[Row], bool]
    read: Callable[[Row], Parsed] | None = None
    write: Callable[[Row], Row] | None = None
