"""Columns of a row by the names that data sets use for them."""

import difflib
from collections.abc import Iterable
from typing import Any

from steps.contracts.errors import InputError
from steps.contracts.records import Row
from steps.engines.formats.dialects.described import listed

# `context` is a prompt where nothing else is; beside a question it stands before it.
PROMPTS = ("prompt", "question", "query", "problem", "input", "source", "context")
COMPLETIONS = ("completion", "answer", "response", "output", "solution", "target")
# The same beside an instruction.
OUTPUTS = ("output", "response", "completion", "answer")
# Columns with several answers.
RESPONSES = ("responses", "completions", "answers", "outputs", "candidates", "generations", "replies")
# Columns with a list of messages.
LISTS = ("messages", "conversations", "conversation", "contents", "dialogue", "dialog", "chat")


def check_columns(rows: Iterable[Row], columns: dict[str, str], where: str) -> None:
    """Raise InputError when a mapped column is in none of the rows, with the nearest spelling."""
    found = list(dict.fromkeys(str(k) for row in rows for k in row))
    for name in columns.values():
        if name not in found:
            near = difflib.get_close_matches(name, found, n=1)
            hint = f"did you mean {near[0][:40]!r}?" if near else "correct `columns`"
            raise InputError(f"no column {name!r}; the columns are {listed(found)}", where=where, hint=hint)


def renamed(row: Row, columns: dict[str, str]) -> Row:
    """The row under standard column names. A row that lacks a mapped column keeps what it has."""
    taken = set(columns.values())
    out = {k: v for k, v in row.items() if k not in taken and k not in columns}
    out.update({name: row[column] for name, column in columns.items() if column in row})
    return out


def first(row: Row, names: tuple[str, ...]) -> str | None:
    """The first of the names whose column says something; where none does, the first that is a column."""
    return given(row, names) or next((n for n in names if n in row), None)


def given(row: Row, names: tuple[str, ...]) -> str | None:
    """The first of the names that is a column of the row and not null there."""
    return next((n for n in names if row.get(n) is not None), None)


def first_value(row: Row, names: tuple[str, ...]) -> Any:
    """What stands in the first of these columns; None without one."""
    name = first(row, names)
    return row[name] if name else None
