"""Rows without names of columns: a list of messages, of pairs or of two texts, a text alone."""

import json
from typing import Any

from steps.contracts.records import Row
from steps.engines.formats.dialects.described import fields, type_of
from steps.engines.formats.dialects.messages import MESSAGE_KEYS
from steps.engines.formats.dialects.roles import CALL, ROLE_KEYS, ROLE_OF
from steps.engines.formats.rejected import RowRejected

# The column of a text that stands alone. No file can name it: JSON's keys are text.
ALONE = "a text alone"
_SPEAKS = tuple(k for k in ROLE_KEYS if k != "type")
_SAYS = ("content", "value", "text", "parts", "tool_calls", "function_call")
SINGLE_MESSAGE = (
    "each row is one message; a row must hold a whole conversation, such as"
    ' {"messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}]}'
)
BARE_TEXT = 'a row is a text alone; `format: text` reads each as a document, otherwise name it: {"prompt": ...}'
_WANTED = 'a row must be a JSON object: {"column": value, ...}, or a list of messages'


def columns_of(value: Any) -> Row:
    """The columns of a JSON value that isn't an object.

    A list of messages, of [role, text], of [user, assistant], a prompt (text or messages) with its answer, or a text.

    Raises:
        RowRejected: not_an_object: it is something else.
    """
    if isinstance(value, str):
        return _within(value) or {ALONE: value}
    if not isinstance(value, list) or not value:
        raise RowRejected("not_an_object", f"{_WANTED}; it is {type_of(value)}{'' if value else ' with nothing in it'}")
    if len(value) == 1 and isinstance(value[0], list) and not _is_pair(value[0]):
        return columns_of(value[0])
    if all(is_message(v) for v in value):
        return {"messages": value}
    if all(_is_pair(v) for v in value) and (turns := _of_pairs(value)):
        return {"messages": turns}
    if _is_pair(value):
        return {"prompt": value[0], "completion": value[1]}
    if len(value) == 2 and _is_list_of_messages(value[0]) and (isinstance(value[1], str) or is_message(value[1])):
        return {"prompt": value[0], "completion": value[1]}
    raise RowRejected("not_an_object", f"{_WANTED}; it is a list of {len(value):,}: {_first_of(value)}")


def _within(text: str) -> Row | None:
    """The object that a text holds as JSON; None for any other text."""
    if text.lstrip()[:1] != "{":
        return None
    try:
        value = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def is_bare_pair(row: Row) -> bool:
    """Whether a row is what a list of two texts is read as."""
    return row.keys() == {"prompt", "completion"} and all(isinstance(v, str) for v in row.values())


def is_message(value: Any) -> bool:
    """Whether an object is a message: who speaks, and what is said."""
    if not isinstance(value, dict):
        return False
    keys = {k.strip().lower() for k in value}
    return not keys.isdisjoint(_SPEAKS) and not keys.isdisjoint(_SAYS)


def speaks(row: Row) -> bool:
    """Whether a column of the row holds the name of a role."""
    return any(isinstance(v, str) and v.strip().lower() in ROLE_OF for k, v in row.items() if k.lower() in _SPEAKS)


def is_nothing_but_message(value: Any) -> bool:
    """Whether it has no key that a message hasn't, such as the number of its conversation."""
    return is_message(value) and all(k.strip().lower() in MESSAGE_KEYS or k in MESSAGE_KEYS for k in value)


def _is_list_of_messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(is_message(v) for v in value)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(v, str) and v.strip() for v in value)


def _of_pairs(pairs: list[list[str]]) -> list[Row]:
    """Turns of [role, text], or of [user, assistant]; none where it is neither for sure."""
    roles = [ROLE_OF.get(p[0].strip().lower()) for p in pairs]
    if all(r is not None and r != CALL for r in roles):
        return [{"role": p[0], "content": p[1]} for p in pairs]
    if any(roles):
        return []
    return [{"role": r, "content": text} for p in pairs for r, text in zip(("user", "assistant"), p, strict=True)]


def _first_of(value: list[Any]) -> str:
    first = value[0]
    return (
        f"the first is an object with {fields(first)}" if isinstance(first, dict) else f"the first is {type_of(first)}"
    )
