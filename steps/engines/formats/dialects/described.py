"""Rows described for messages without their values: names of keys, and the type of what stands there."""

import re
from collections.abc import Iterable
from typing import Any

from steps.contracts.records import Row

_COLUMN = re.compile(r"[^\W\d][\w .:/-]{0,39}")
_TYPES = {bool: "true or false", int: "a number", float: "a number", dict: "an object", list: "a list", str: "text"}
# Chosen: more than tables of people have; a file that is none may have a million.
_MOST_COLUMNS = 300
# Chosen: more keys of one object than this help nobody.
_MOST_FIELDS = 30


def type_of(value: Any) -> str:
    """What a value is, in words."""
    return "null" if value is None else _TYPES.get(type(value), type(value).__name__)


def listed(names: list[str]) -> str:
    """Column names for a message. What doesn't look like a name is hidden: in a CSV without header it is data."""
    plain = [n for n in names if _COLUMN.fullmatch(n)]
    return _joined([repr(n) for n in plain[:_MOST_COLUMNS]], len(plain), len(names)) or "none"


def fields(row: Row, *, without: Iterable[str] = ()) -> str:
    """The keys of an object with the type of each: "`value` (text), `id` (a number)"; "nothing" without any."""
    names = [str(k) for k in row if k not in without]
    plain = [n for n in names if _COLUMN.fullmatch(n)]
    shown = [f"`{n}` ({type_of(row.get(n))})" for n in plain[:_MOST_FIELDS]]
    return _joined(shown, len(plain), len(names)) or "nothing"


def _joined(shown: list[str], plain: int, names: int) -> str:
    more = [f"{plain - len(shown)} more"] if plain > len(shown) else []
    hidden = [f"{names - plain} that look like no name"] if names > plain else []
    return ", ".join([*shown, *more, *hidden])
