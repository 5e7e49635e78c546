"""A row's content as a person edits it, and the row that an edit makes."""

import json
import re
from typing import Any

from steps.contracts.errors import InputError
from steps.contracts.records import ROLES, Row, content_id_of, message, text_of

_LISTS = ("messages", "chosen", "rejected")
_TEXTS = ("name", "tool_calls", "tool_call_id", "reasoning")
_OPTIONAL = (*_TEXTS, "weight")


def content_of(row: Row) -> dict[str, Any]:
    """What may be edited: the text of a document, else messages, chosen, rejected and tools, empty ones left out."""
    if row["kind"] == "document":
        return {"text": row["text"]}
    content: dict[str, Any] = {name: [_shown(m) for m in row[name]] for name in _LISTS if row[name]}
    return {**content, **({"tools": row["tools"]} if row["tools"] else {})}


def _shown(m: Row) -> dict[str, Any]:
    weight = {} if m.get("weight") is None else {"weight": m["weight"]}
    return {"role": m["role"], "content": m["content"], **{k: m[k] for k in _TEXTS if m.get(k)}, **weight}


def edited(row: Row, content: Any) -> Row:
    """The row with this content; record id, source and split stay.

    Raises:
        InputError: the content isn't of the row's form. All mistakes are named.
    """
    wanted = set(content_of(row))
    if not isinstance(content, dict) or set(content) != wanted:
        raise InputError(f"not the content of a {row['kind']}", hint=f"an object with {', '.join(sorted(wanted))}")
    mistakes = [m for name in _LISTS if name in content for m in _mistakes(name, content[name])]
    mistakes += [f"{k}: not a text" for k in ("text", "tools") if k in content and not _is_text(content[k])]
    if not mistakes and "tools" in content and not _is_json(content["tools"]):
        mistakes.append("tools: not JSON")
    if mistakes:
        raise InputError("; ".join(mistakes[:8]), hint="keep the form, change the texts")
    new = {**row, **{k: content[k] for k in ("text", "tools") if k in content}}
    new.update({name: [message(**m) for m in content[name]] for name in _LISTS if name in content})
    if not text_of(new).strip():
        raise InputError("nothing is left of the row", hint="drop it instead")
    new["content_id"] = content_id_of(new)
    return new


def _mistakes(name: str, messages: Any) -> list[str]:
    if not isinstance(messages, list) or not messages:
        return [f"{name}: not a list with messages"]
    return [f"{name}/{i}: {m}" for i, value in enumerate(messages) if (m := _mistake(value))]


def _mistake(value: Any) -> str | None:
    if not isinstance(value, dict) or not {"role", "content"} <= set(value) <= {"role", "content", *_OPTIONAL}:
        return f"not a message with role and content (optional: {', '.join(_OPTIONAL)})"
    if not all(_is_text(v) for k, v in value.items() if k != "weight"):
        return "a value isn't a text"
    if type(value.get("weight", 1)) is not int or value.get("weight", 1) not in (0, 1):
        return "weight must be 0 or 1"
    if value["role"] not in ROLES:
        return f"role must be one of {', '.join(ROLES)}"
    if "tool_calls" in value and not _is_json(value["tool_calls"]):
        return "tool_calls isn't JSON"
    return None


def _is_text(value: Any) -> bool:
    """Whether it can be stored: a string without half of a surrogate pair."""
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
