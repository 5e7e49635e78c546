"""Message lists of every dialect as the messages of a record."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from steps.contracts.digests import canonical_json
from steps.contracts.records import ROLES, Row, message
from steps.engines.formats.rejected import RowRejected

# Roles by the names that data sets use for them (OpenAI, ShareGPT, OASST, Gemini).
ROLE_OF = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant", "bard": "assistant",
    "model": "assistant", "bot": "assistant", "function_call": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "function_response": "tool",
}  # fmt: skip
_TEXT_PARTS = ("text", "input_text", "output_text")
_PLAIN_ROLE = re.compile(r"[A-Za-z_ -]{1,24}")


def parsed(value: Any, column: str) -> Any:
    """The value, or what its JSON text says when it is text that starts like a list or object."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value, strict=False)
        except (ValueError, RecursionError):
            raise RowRejected("broken_json", f"column {column!r} starts like JSON, but isn't") from None
    return value


def role_of(name: Any) -> str:
    """One of ROLES."""
    role = ROLE_OF.get(name.lower()) if isinstance(name, str) else None
    if role is None:
        shown = f" {name!r}" if isinstance(name, str) and _PLAIN_ROLE.fullmatch(name) else ""
        raise RowRejected("unknown_role", f"role{shown} is none of {', '.join(ROLES)} or their known aliases")
    return role


@dataclass(frozen=True)
class _Dialect:
    """How messages are written. one, many: what they are called; form: of one; keys: those that `read` knows."""

    one: str
    many: str
    form: str
    keys: frozenset[str]
    read: Callable[[Row, "_Calls"], Row]


def _messages(value: Any, column: str, dialect: _Dialect) -> tuple[list[Row], Row]:
    value = parsed(value, column)
    if not isinstance(value, list):
        raise RowRejected("messages_not_a_list", f"column {column!r} must be a list of {dialect.many}")
    calls = _Calls()
    out: list[Row] = []
    extra: Row = {}
    for index, m in enumerate(value):
        if not isinstance(m, dict):
            raise RowRejected("message_not_an_object", f"a {dialect.one} must be {dialect.form}")
        out.append(dialect.read(m, calls))
        if len(m) > 2 and (rest := {k: v for k, v in m.items() if k not in dialect.keys and v is not None}):
            extra[str(index)] = rest
    return out, extra


def openai_messages(value: Any, column: str = "messages") -> tuple[list[Row], Row]:
    """Messages in OpenAI's form, and their keys that a record has no field for: {index: {key: value}}."""
    return _messages(value, column, _OPENAI)


def _openai_message(m: Row, calls: "_Calls") -> Row:
    role, content = role_of(m.get("role")), m.get("content")
    if len(m) == 2 and isinstance(content, str):
        if role == "tool":
            return message(role, content, tool_call_id=calls.answer())
        return message(role, content)
    tool_calls = m.get("tool_calls") or None
    if tool_calls is None and m.get("function_call"):
        tool_calls = [m["function_call"]]
    name = m.get("name")
    if name is not None and not isinstance(name, str):
        raise RowRejected("not_text", "a message's name must be text")
    call_id = None
    if role == "tool":
        call_id = calls.answer(m["tool_call_id"]) if "tool_call_id" in m else calls.answer()
    stored = calls.stored(tool_calls) if tool_calls else None
    return message(role, content_text(content, stored is not None), name=name, tool_calls=stored, tool_call_id=call_id)


def content_text(content: Any, calls_tools: bool = False) -> str:
    """A message's content as text; text parts are joined without a separator, as chat templates join them."""
    if isinstance(content, str):
        return content
    if content is None:
        if calls_tools:
            return ""
        raise RowRejected("no_content", "a message has no content and calls no tool")
    if not isinstance(content, list):
        raise RowRejected("not_text", f"a message's content is {_kind(content)}, not text or a list of text parts")
    return "".join(_part_text(p) for p in content)


def _part_text(part: Any) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in _TEXT_PARTS and isinstance(part.get("text"), str):
        return str(part["text"])
    shown = f" ({kind})" if isinstance(kind, str) and _PLAIN_ROLE.fullmatch(kind) else ""
    raise RowRejected("not_text", f"a content part isn't text{shown}; images, audio and files can't be read")


class _Calls:
    """Ids of the tool calls of one conversation; a call without an id is named call_<n>, n from 1."""

    def __init__(self) -> None:
        self.count = 0
        self.open: list[str] = []

    def stored(self, calls: Any) -> str:
        """JSON text of OpenAI's list of tool calls: arguments as JSON text, ids filled in."""
        calls = parsed(calls, "tool_calls")
        listed = calls if isinstance(calls, list) else [calls]
        return canonical_json([self._one(c) for c in listed])

    def _one(self, call: Any) -> Row:
        body = call.get("function", call) if isinstance(call, dict) else None
        if not isinstance(body, dict) or not isinstance(body.get("name"), str):
            raise RowRejected("bad_tool_call", 'a tool call must be {"name": ..., "arguments": ...}')
        self.count += 1
        call_id = call.get("id")
        call_id = call_id if isinstance(call_id, str) else f"call_{self.count}"
        self.open.append(call_id)
        arguments = _arguments(body.get("arguments", body.get("parameters")))
        return {"id": call_id, "type": "function", "function": {"name": body["name"], "arguments": arguments}}

    def answer(self, *given: Any) -> str | None:
        """The id that a tool message answers: the given one (None stays None), or the first open call's."""
        if given:
            call_id = given[0] if isinstance(given[0], str) else None
            if call_id in self.open:
                self.open.remove(call_id)
            return call_id
        return self.open.pop(0) if self.open else None


def _arguments(value: Any) -> str:
    if value is None or value == "":
        return "{}"
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    try:
        whole = isinstance(value, str) and isinstance(json.loads(value), dict)
    except (ValueError, RecursionError):
        whole = False
    if not whole:
        raise RowRejected("bad_tool_arguments", "a tool call's arguments must be a JSON object, or its text")
    return str(value)


def sharegpt_messages(value: Any, column: str = "conversations") -> tuple[list[Row], Row]:
    """Messages in ShareGPT's form (from/value), and their other keys as for `openai_messages`.

    A function_call turn holds one {"name", "arguments"} or a list of them.
    """
    return _messages(value, column, _SHAREGPT)


def _sharegpt_turn(turn: Row, calls: _Calls) -> Row:
    speaker = turn.get("from")
    role, text = role_of(speaker), turn.get("value")
    if speaker == "function_call":
        return message("assistant", "", tool_calls=calls.stored(text))
    text = content_text(text)
    if role == "tool":
        given = (turn["tool_call_id"],) if "tool_call_id" in turn else ()
        return message(role, text, tool_call_id=calls.answer(*given))
    return message(role, text)


_OPENAI = _Dialect(
    "message",
    "messages",
    '{"role": ..., "content": ...}',
    frozenset({"role", "content", "name", "tool_calls", "tool_call_id", "function_call"}),
    _openai_message,
)
_SHAREGPT = _Dialect(
    "turn", "turns", '{"from": ..., "value": ...}', frozenset({"from", "value", "tool_call_id"}), _sharegpt_turn
)


def tools_text(row: Row) -> str | None:
    """JSON text of OpenAI's tools list from `tools` (list or JSON text) or the older `functions`; None for none."""
    if "tools" not in row and "functions" not in row:
        return None
    tools = parsed(row.get("tools") or None, "tools")
    if tools is None and row.get("functions"):
        listed = parsed(row["functions"], "functions")
        tools = [{"type": "function", "function": f} for f in listed] if isinstance(listed, list) else listed
    if tools is None or tools == []:
        return None
    if isinstance(tools, str) and not tools.strip():
        return None
    if not isinstance(tools, list) or not all(isinstance(t, dict) for t in tools):
        raise RowRejected("bad_tools", "tools must be a list of tool definitions, or its JSON text")
    return canonical_json(tools)


def checked(messages: list[Row]) -> list[Row]:
    """The messages of a conversation that can be trained on: at least one assistant turn that says something."""
    if not messages:
        raise RowRejected("empty_conversation", "the list of messages is empty")
    answered = False
    for m in messages:
        if m["role"] == "assistant":
            if m["tool_calls"] or not _blank(m["content"]):
                return messages
            answered = True
    if answered:
        raise RowRejected("empty_answer", "every assistant turn is blank")
    raise RowRejected("no_assistant_turn", "a conversation needs at least one assistant turn")


def _blank(text: str) -> bool:
    return not text or text.isspace()


def text_of_column(row: Row, column: str, *, blank: bool = False) -> str:
    """A column that must be text; `blank` allows empty text and None, which becomes ""."""
    value = row.get(column)
    if isinstance(value, str) and (blank or not _blank(value)):
        return value
    if value is None or isinstance(value, str):
        if blank:
            return ""
        reason = "missing_column" if column not in row else "empty_text"
        raise RowRejected(reason, f"column {column!r} is {'missing' if column not in row else 'empty'}")
    raise RowRejected("not_text", f"column {column!r} is {_kind(value)}, not text")


def _kind(value: Any) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", dict: "an object", list: "a list"}
    return names.get(type(value), type(value).__name__)
