"""Message lists of every dialect as the messages of a record."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from steps.contracts.records import Row, message
from steps.contracts.thinking import THINK_TAG, split
from steps.engines.formats.dialects.calls import Calls
from steps.engines.formats.dialects.content import Content, content_of, refuse_media, value_text
from steps.engines.formats.dialects.described import fields, type_of
from steps.engines.formats.dialects.parsing import parsed
from steps.engines.formats.dialects.roles import CALL, ROLE_KEYS, ROLE_OF, ROLES_OF_MANY, by_speakers, role_of
from steps.engines.formats.rejected import RowRejected

_CONTENT_KEYS = ("content", "value", "text", "parts")
_REASONING_KEYS = ("reasoning_content", "reasoning", "thinking", "thought", "thoughts")
_WEIGHT_KEYS = ("weight", "train", "loss", "trainable", "label")
_ID_KEYS = ("tool_call_id", "tool_use_id", "toolCallId", "call_id")
_CALL_KEYS = ("tool_calls", "function_call", "toolCalls")
_KNOWN = frozenset({*_CONTENT_KEYS, *_WEIGHT_KEYS, *_ID_KEYS, *_CALL_KEYS, "name", "refusal"})
MESSAGE_KEYS = _KNOWN | {*ROLE_KEYS, *_REASONING_KEYS, "output", "arguments"}
_YES, _NO = (True, 1, 1.0, "true", "1", "1.0", "yes"), (False, 0, 0.0, "false", "0", "0.0", "no")


@dataclass
class Turns:
    """Messages of a record, and what a record has no field for.

    Attributes:
        extra: other keys of messages, {index: {key: value}}.
        notes: what a reader of the report should know, once per message that it is true of.
        think_tag: the tag that reasoning stood in; None where there was none.
    """

    messages: list[Row] = field(default_factory=list)
    extra: Row = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    think_tag: str | None = None

    def __add__(self, other: "Turns") -> "Turns":
        """These turns and the others behind them."""
        if not other.messages:
            return self
        if not self.messages:
            return other
        at = len(self.messages)
        extra = {**self.extra, **{str(int(i) + at): fields for i, fields in other.extra.items()}}
        tag = self.think_tag or other.think_tag
        return Turns([*self.messages, *other.messages], extra, [*self.notes, *other.notes], tag)

    def meta(self, name: str = "message_fields") -> Row:
        """What the meta of a row says about its messages."""
        tag = {} if self.think_tag is None else {THINK_TAG: self.think_tag}
        return {**tag, name: self.extra} if self.extra else tag


def read_messages(
    value: Any, column: str = "messages", roles: Mapping[str, str] | None = None, tools: str | None = None
) -> Turns:
    """The messages of a list, or its JSON text, in any dialect.

    roles: the source's own names of roles. tools: the row's tools as JSON text, for calls written as text.
    """
    as_text, value = isinstance(value, str), parsed(value, column)
    value = as_turns(value)
    if not isinstance(value, list):
        raise RowRejected("messages_not_a_list", f"column {column!r} is {type_of(value)}, not a list of messages")
    reader = _Reader(roles, Calls(tools, as_text=as_text))
    for number, m in enumerate(_turned(value), 1):
        if not isinstance(m, dict):
            what = f'message {number} is {type_of(m)}, not an object such as {{"role": ..., "content": ...}}'
            raise RowRejected("message_not_an_object", what)
        try:
            reader.add(m)
        except RowRejected as e:
            raise RowRejected(e.reason, f"message {number}: {e.hint}") from None
    return reader.turns


class _Reader:
    def __init__(self, roles: Mapping[str, str] | None, calls: Calls) -> None:
        self.turns = Turns()
        self._roles, self._calls = roles, calls

    def add(self, m: Row) -> None:
        """One message, most of which are a known role and text and nothing else, or nulls that Arrow added."""
        plain = m if len(m) == 2 else {k: v for k, v in m.items() if v is not None}
        if len(plain) == 2 and not self._roles:
            said = plain.get("content") if "role" in plain else plain.get("value")
            name = plain.get("role", plain.get("from"))
            role = ROLE_OF.get(name) if isinstance(name, str) else None
            # A tool's message may say by a null that it answers no call.
            known = role is not None and role != CALL and (role != "tool" or plain is m)
            if isinstance(said, str) and role is not None and known:
                call_id = self._calls.answer() if role == "tool" else None
                self._append(message(role, said, tool_call_id=call_id))
                return
        self._careful(m)

    def _append(self, m: Row) -> None:
        if m["role"] == "assistant" and m["content"].lstrip()[:1] == "<":
            self._split(m)
        self.turns.messages.append(m)

    def _split(self, m: Row) -> None:
        """Take reasoning in tags out of the content."""
        found = split(m["content"])
        if found is None:
            if m["content"].lstrip().startswith("<think>") and "</think>" not in m["content"]:
                self.turns.notes.append("think tag never closed: all of it is read as the answer")
            return
        tag, reasoning, answer = found
        if m["reasoning"] is None or m["reasoning"].strip() == reasoning:
            self.turns.think_tag = self.turns.think_tag or tag
            m["reasoning"], m["content"] = reasoning, answer

    def _careful(self, m: Row) -> None:
        m = m if _role_key(m) is not None else _lower(m)
        if isinstance(m.get("data"), dict) and "content" not in m:  # LangChain
            m = {"role": m.get("type"), **{k: v for k, v in m["data"].items() if k in MESSAGE_KEYS - {*ROLE_KEYS}}}
        role = self._role(m)
        refuse_media(m, "it")
        value = _content(m)
        if value is None and role == "system":
            return
        if role == CALL:
            self._called(m, value)
            return
        listed = next((m[k] for k in _CALL_KEYS if m.get(k)), None)
        content = content_of(value) if value is not None else Content()
        if content.calls:
            listed = [*_as_list(parsed(listed, "tool_calls")), *content.calls]
        for call_id, said in content.results:
            given = (call_id,) if call_id is not None else ()
            self._append(message("tool", said, tool_call_id=self._calls.answer(*given)))
        if content.results and (role == "tool" or not content.text.strip()) and not listed:
            return
        if value is None and role != "tool" and not listed:
            raise RowRejected("no_content", _no_content(m))
        self._say(m, role, content, listed)

    def _role(self, m: Row) -> str:
        key = _role_key(m)
        if key is None:
            raise RowRejected("unknown_role", f"has {fields(m)}, wanted `role`")
        return role_of(m[key], self._roles, key)

    def _called(self, m: Row, value: Any) -> None:
        """A turn whose content is its calls; calls as text that names no parameters stay text."""
        value = next((m[k] for k in _CALL_KEYS if m.get(k)), value)
        if value is None and "arguments" in m:  # OpenAI's items: {"type": "function_call", "name", "arguments"}
            value = {k: v for k, v in m.items() if k != "type"}
        if value is None:
            raise RowRejected("no_content", _no_content(m))
        if isinstance(value, str) and value.strip()[:1] not in ("{", "[") and self._calls.written(value) is None:
            self.turns.notes.append("calls written as text stay text: nothing names their parameters")
            self._say(m, "assistant", content_of(value), None)
        else:
            self._say(m, "assistant", Content(), value)

    def _say(self, m: Row, role: str, content: Content, calls: Any) -> None:
        stored = self._calls.stored(calls) if calls else None
        name = m.get("name")
        if name is not None and not isinstance(name, str):
            raise RowRejected("not_text", f"a message's name must be text, but is {type_of(name)}")
        made = message(role, content.text, name=name, tool_calls=stored)
        if role == "tool":
            given = [m[k] for k in _ID_KEYS if k in m]
            made["tool_call_id"] = self._calls.answer(*given[:1])
        if role == "assistant":
            thoughts = [*content.thoughts, *_thoughts(m)]
            made["reasoning"] = "\n\n".join(dict.fromkeys(thoughts)) or None
        self._mark(m, made)
        self._append(made)

    def _mark(self, m: Row, made: Row) -> None:
        """The message's weight, and the keys for which a record has no field."""
        weights = [w for k in _WEIGHT_KEYS if (w := _weight(k, m.get(k))) is not None]
        if len(set(weights)) > 1:
            raise RowRejected("bad_weight", f"says both that it is trained and that it isn't: {fields(m)}")
        if made["role"] == "assistant":
            made["weight"] = weights[0] if weights else None
        elif 1 in weights:
            self.turns.notes.append(f"weight 1 on a {made['role']} message has no effect: only answers are trained")
        if rest := _unused(m, made["role"]):
            self.turns.extra[str(len(self.turns.messages))] = rest


def _role_key(m: Row) -> str | None:
    return next((k for k in ROLE_KEYS if m.get(k) is not None), None)


def as_turns(value: Any) -> Any:
    """Messages that are stored by columns (`{"role": [...], "content": [...]}`) as a list; all else as it is."""
    if not isinstance(value, dict) or not value or ROLES_OF_MANY.isdisjoint(value):
        return value
    lengths = {len(v) if isinstance(v, list) else -1 for v in value.values()}
    if len(lengths) > 1 or -1 in lengths:
        return value
    return [dict(zip(value, cells, strict=True)) for cells in zip(*value.values(), strict=True)]


def _turned(value: list[Any]) -> list[Any]:
    """The list with what stands under its speakers as messages; itself where any of it is a message already."""
    if not value or by_speakers(value[0]) is None:
        return value
    found = [by_speakers(turn) for turn in value]
    return [m for turns in found for m in turns or ()] if all(found) else value


def _lower(m: Row) -> Row:
    """The message with the keys that are known but for their case (`Role`) or blanks around them."""
    out: Row = {}
    for key, value in m.items():
        plain = key.strip().lower()
        out[plain if plain in MESSAGE_KEYS and plain not in m and plain not in out else key] = value
    return out


def _unused(m: Row, role: str) -> Row:
    """The keys of a message that no field of a record holds."""
    speaks = _role_key(m)

    def used(key: str, value: Any) -> bool:
        if key in ROLE_KEYS:
            return key == speaks
        if key in _REASONING_KEYS:
            return role == "assistant" or not value
        return key in _KNOWN and not (key == "label" and _weight(key, value) is None)

    return {k: v for k, v in m.items() if v is not None and not used(k, v)}


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _content(m: Row) -> Any:
    """What stands in the message: the content, or a refusal in its place. None: nothing."""
    said = [m[k] for k in _CONTENT_KEYS if m.get(k) is not None]
    if len(said) > 1 and any(s != said[0] for s in said):
        both = ", ".join(f"`{k}`" for k in _CONTENT_KEYS if m.get(k) is not None)
        raise RowRejected("two_contents", f"{both} say different things")
    refusal = m.get("refusal")
    if isinstance(refusal, str) and refusal.strip():
        if said and said[0] not in ("", [], refusal):
            raise RowRejected("two_contents", "`content` and `refusal` say different things")
        return refusal
    return said[0] if said else m.get("output")


def _no_content(m: Row) -> str:
    if any(k in m for k in _CONTENT_KEYS):
        return "no content, and it calls no tool"
    return f"has {fields(m, without=ROLE_KEYS)}, wanted `content`"


def _thoughts(m: Row) -> list[str]:
    found = []
    for key in _REASONING_KEYS:
        value = m.get(key)
        if isinstance(value, str) and value.strip():
            found.append(value)
        elif value and not isinstance(value, str):
            found.append(_reasoning_text(value))
    return found


def _reasoning_text(value: Any) -> str:
    """Reasoning given as an object or as parts (`summary`, `thinking`), as text."""
    parts = value if isinstance(value, list) else [value]
    content = content_of([{"type": "thinking", **p} if isinstance(p, dict) and "type" not in p else p for p in parts])
    return "\n\n".join([*content.thoughts, *content.texts])


def _weight(key: str, value: Any) -> int | None:
    """1 it is trained, 0 it isn't; None: nothing said."""
    if value is None:
        return None
    if isinstance(value, str):
        value = value.strip().lower()
    if isinstance(value, (bool, int, float, str)):
        if value in _YES:
            return 1
        if value in _NO:
            return 0
    if key == "label":  # a category
        return None
    raise RowRejected("bad_weight", f"`{key}` says how much it is trained, and must be 0 or 1, true or false")


def checked(messages: list[Row]) -> list[Row]:
    """The messages of a conversation that can be trained on: at least one assistant turn that says something."""
    if not messages:
        raise RowRejected("empty_conversation", "the list of messages is empty")
    answered = False
    for m in messages:
        if m["role"] == "assistant":
            if m["tool_calls"] or not is_blank(m["content"]):
                return messages
            answered = True
    if answered:
        raise RowRejected("empty_answer", "every assistant turn is blank")
    raise RowRejected("no_assistant_turn", "a conversation needs at least one assistant turn")


def is_blank(text: str) -> bool:
    """Whether there is nothing but white space."""
    return not text or text.isspace()


def text_of_column(row: Row, column: str, *, blank: bool = False) -> str:
    """A column as text, of numbers and objects their JSON; `blank` allows empty text and None, which becomes ""."""
    value = row.get(column)
    if value is None or isinstance(value, str):
        if isinstance(value, str) and (blank or not is_blank(value)):
            return value
        if blank:
            return ""
        reason = "missing_column" if column not in row else "empty_text"
        raise RowRejected(reason, f"column {column!r} is {'missing' if column not in row else 'empty'}")
    text = value_text(value)
    if is_blank(text) and not blank:
        raise RowRejected("empty_text", f"column {column!r} is empty")
    return text
