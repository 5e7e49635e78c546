"""Columns of a row by the names that data sets use for them."""

import difflib
import re
from collections.abc import Iterable
from typing import Any

from steps.contracts.errors import InputError
from steps.contracts.records import Row, message
from steps.engines.formats.messages import openai_messages, text_of_column
from steps.engines.formats.rejected import RowRejected

PROMPTS = ("prompt", "question", "query", "problem", "input", "source")
COMPLETIONS = ("completion", "answer", "response", "output", "solution", "target")
_COLUMN = re.compile(r"[^\W\d][\w .:/-]{0,39}")
# Chosen: more than tables of people have; a file that is none may have a million.
_MOST_COLUMNS = 300
_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")


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


def listed(names: list[str]) -> str:
    """Column names for a message. What doesn't look like a name is hidden: in a CSV without header it is data."""
    plain = [n for n in names if _COLUMN.fullmatch(n)]
    shown = [repr(n) for n in plain[:_MOST_COLUMNS]]
    if len(plain) > len(shown):
        shown.append(f"{len(plain) - len(shown)} more")
    if len(names) > len(plain):
        shown.append(f"{len(names) - len(plain)} that look like no name")
    return ", ".join(shown) or "none"


def first(row: Row, names: tuple[str, ...]) -> str | None:
    """The first of the names that is a column of the row."""
    return next((n for n in names if n in row), None)


def first_value(row: Row, names: tuple[str, ...]) -> Any:
    """What stands in that column; None without one."""
    name = first(row, names)
    return row[name] if name else None


def system_turn(row: Row) -> list[Row]:
    """The column `system` as a message; none where it is missing or blank."""
    text = text_of_column(row, "system", blank=True) if "system" in row else ""
    return [message("system", text)] if text.strip() else []


def prompt_turns(row: Row, column: str) -> list[Row]:
    """A prompt's messages: a list of them, a transcript that ends with `Assistant:`, or text as one user turn."""
    if isinstance(row.get(column), list):
        return openai_messages(row[column], column)[0]
    text = text_of_column(row, column)
    if is_transcript(text):
        turns = transcript(text)
        if turns[-1]["role"] == "assistant" and not turns[-1]["content"]:
            return turns[:-1]
    return [message("user", text)]


def reply_turns(row: Row, column: str) -> list[Row]:
    """An answer's messages: a list of them, one, or text as one assistant turn."""
    value = row.get(column)
    if isinstance(value, dict):
        value = [value]
    if isinstance(value, list):
        return openai_messages(value, column)[0]
    return [message("assistant", text_of_column(row, column))]


def is_transcript(text: str) -> bool:
    """Whether text looks like hh-rlhf's `\\n\\nHuman: ...\\n\\nAssistant: ...`."""
    return text.lstrip().startswith("Human:")


def transcript(text: str) -> list[Row]:
    """Messages of hh-rlhf's transcript form; a turn's text is stripped. Only the last turn may be blank."""
    pieces = _TURN.split(text.lstrip("\n"))
    if pieces[0].strip():
        raise RowRejected("bad_transcript", "a transcript must start with 'Human:'")
    turns = [
        message("user" if who == "Human" else "assistant", said.strip())
        for who, said in zip(pieces[1::2], pieces[2::2], strict=True)
    ]
    if any(not t["content"] for t in turns[:-1]):
        raise RowRejected("empty_text", "a turn of the transcript is blank")
    return turns
