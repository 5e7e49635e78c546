"""Every human text of a row under a path, and the row rebuilt with some of those texts replaced.

Paths are written like JSON pointers without the leading slash: `messages/0/content`, `text`, `meta/author`,
`messages/2/tool_calls/0/function/arguments/city` (arguments is JSON text inside JSON text: it is walked into).
A key that isn't a plain identifier stands in the path as `#` and its position, so that a path may be
written to a ledger without carrying dataset text. JSON keys, numbers, types, and ids of calls and function names that
have the form of one are not segments, unless `everything` is asked for: then odd keys are too (at the path of their
value with `~` behind it), and whole numbers of seven digits and more, written or quoted, as `key: number` where the key
is a word that says what number it is. JSON that can't be parsed, nests too deep or repeats a key is one segment, whole.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steps.contracts.records import Row

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,39}")
# What OpenAI's interface and its like let a function be called, with the dots, slashes and colons of others.
_FUNCTION_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/-]{0,127}")
# What links a call to its result: letters and digits, some of them letters.
_CALL_ID = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9_.:/|=-]{1,128}")
MESSAGE_LISTS = ("messages", "chosen", "rejected")
JSON_COLUMNS = ("tools", "meta")
# Leaves with these names hold structure, not speech: they link calls to results and name functions.
_CALL_STRUCTURE = frozenset({"id", "type", "name"})
_TOOL_STRUCTURE = frozenset({"type", "name", "required", "$ref"})
_NO_STRUCTURE: frozenset[str] = frozenset()


# Shorter numbers say nothing about anybody.
_LONG = 10**6
_LONG_DIGITS = re.compile(r"\d{7,}")
# Keys that say what number follows. Chosen: words of telephony, banks and registers.
_TELLING_KEY = re.compile(
    r"(?i)phone|mobile|fax|\btel\b|whatsapp|msisdn|telefon|account|acct|bank|card|credit|ssn|social|passport|licen[cs]e"
    r"|\btax|nhs|medical|patient|\bmrn\b"
)
_WORD_EDGE = re.compile(r"_|-|(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True)
class Segment:
    """One text of a row; `path` is unique in the row."""

    path: str
    text: str


def segments(row: Row, *, everything: bool = False) -> list[Segment]:
    """All non-empty human texts of the row, in a fixed order: messages, chosen, rejected, tools, text, meta."""
    found: list[Segment] = []
    for field in MESSAGE_LISTS:
        for number, m in enumerate(row[field]):
            found.extend(_message_segments(m, f"{field}/{number}", everything))
    found.extend(_json_segments(row["tools"], "tools", _TOOL_STRUCTURE, everything))
    if row["text"]:
        found.append(Segment("text", row["text"]))
    found.extend(_json_segments(row["meta"], "meta", _NO_STRUCTURE, everything))
    return found


def json_texts(text: str | None, path: str, *, everything: bool = False) -> list[str]:
    """The texts that `segments` finds in a JSON text which stands at this path of a row."""
    structure = _TOOL_STRUCTURE if path == "tools" else _NO_STRUCTURE if path == "meta" else _CALL_STRUCTURE
    return [s.text for s in _json_segments(text, path, structure, everything)]


def with_segments(row: Row, texts: Mapping[str, str]) -> Row:
    """A copy of the row with the texts at these paths replaced; paths that the row lacks are ignored.

    JSON fields stay valid JSON and are rewritten only when a text inside them changes. The ids stay as they are:
    call `content_id_of` on the result.
    """
    new = dict(row)
    for field in MESSAGE_LISTS:
        new[field] = [_with_message(m, f"{field}/{number}", texts) for number, m in enumerate(row[field])]
    new["tools"] = _with_json(row["tools"], "tools", _TOOL_STRUCTURE, texts)
    if row["text"]:
        new["text"] = texts.get("text", row["text"])
    new["meta"] = _with_json(row["meta"], "meta", _NO_STRUCTURE, texts)
    return new


def _message_segments(m: Row, path: str, everything: bool) -> Iterator[Segment]:
    if m["content"]:
        yield Segment(f"{path}/content", m["content"])
    if _is_human_name(m):
        yield Segment(f"{path}/name", m["name"])
    if _is_odd_id(m.get("tool_call_id")):
        yield Segment(f"{path}/tool_call_id", m["tool_call_id"])
    if m.get("reasoning"):
        yield Segment(f"{path}/reasoning", m["reasoning"])
    yield from _json_segments(m.get("tool_calls"), f"{path}/tool_calls", _CALL_STRUCTURE, everything)


def _is_human_name(m: Row) -> bool:
    """A user's name is a human text; a tool's name is that of a function, if it can be one."""
    return bool(m.get("name")) and (m["role"] != "tool" or not _FUNCTION_NAME.fullmatch(m["name"]))


def _is_odd_id(call_id: str | None) -> bool:
    """Whether the id of a call may say something: an address, a number."""
    return bool(call_id) and not _CALL_ID.fullmatch(str(call_id))


def _with_message(m: Row, path: str, texts: Mapping[str, str]) -> Row:
    new = {**m, "content": texts.get(f"{path}/content", m["content"])}
    if _is_human_name(m):
        new["name"] = texts.get(f"{path}/name", m["name"])
    if _is_odd_id(m.get("tool_call_id")):
        new["tool_call_id"] = texts.get(f"{path}/tool_call_id", m["tool_call_id"])
    if m.get("reasoning"):
        new["reasoning"] = texts.get(f"{path}/reasoning", m["reasoning"])
    if m.get("tool_calls"):
        new["tool_calls"] = _with_json(m["tool_calls"], f"{path}/tool_calls", _CALL_STRUCTURE, texts)
    return new


def _json_segments(text: str | None, path: str, structure: frozenset[str], everything: bool) -> Iterator[Segment]:
    if not text or text in ("{}", "[]"):
        return
    try:
        value = _parse(text)
        leaves = list(_leaves(value, path, structure, everything))
    except (ValueError, RecursionError):
        yield Segment(path, text)
        return
    yield from leaves


def _with_json(text: str | None, path: str, structure: frozenset[str], texts: Mapping[str, str]) -> str | None:
    if not text or text in ("{}", "[]"):
        return text
    try:
        value = _parse(text)
        new = _replaced(value, path, structure, texts)
    except (ValueError, RecursionError):
        return texts.get(path, text)
    return text if new is value else _dump(new)


def _leaves(value: Any, path: str, structure: frozenset[str], everything: bool, label: str = "") -> Iterator[Segment]:
    """String leaves of a JSON value, in document order. `label`: the key that it, or the list around it, stands at."""
    if everything and (number := _numbered(value, label)):
        yield Segment(path, number)
    elif isinstance(value, str):
        if value:
            yield from _string_leaves(value, path, everything)
    elif isinstance(value, (dict, list)):
        for part, key, child in _children(value, path):
            here = label if isinstance(value, list) else key
            if everything and here is key and _is_odd(key):
                yield Segment(f"{part}~", key)
            if _is_speech(key, child, structure):
                yield from _leaves(child, part, _below(key, structure), everything, here)


def _string_leaves(value: str, path: str, everything: bool) -> Iterator[Segment]:
    inner = _inner_json(value, path)
    if inner is None:
        yield Segment(path, value)
    else:
        yield from _leaves(inner, path, _NO_STRUCTURE, everything)


def _is_odd(key: str) -> bool:
    return bool(key) and not _PLAIN_KEY.fullmatch(key)


def _numbered(value: Any, label: str) -> str | None:
    """How a long whole number is searched, behind its label where that says what it is; None for everything else."""
    written = isinstance(value, int) and abs(value) >= _LONG
    if not (written or (isinstance(value, str) and _LONG_DIGITS.fullmatch(value))):
        return None
    words = _WORD_EDGE.sub(" ", label)
    return f"{words}: {value}" if _TELLING_KEY.search(words) else str(value)


def _renumbered(value: Any, label: str, new: str) -> Any:
    """The number as replaced: without its label, and still a number where it wasn't."""
    shown = _numbered(value, label)
    if shown is None or new == shown:
        return value if shown is not None else new
    return new.removeprefix(f"{_WORD_EDGE.sub(' ', label)}: ")


def _replaced(value: Any, path: str, structure: frozenset[str], texts: Mapping[str, str], label: str = "") -> Any:
    """The value itself when nothing in it changes, else a copy with the new texts."""
    if isinstance(value, str):
        inner = _inner_json(value, path)
        if inner is None:
            new = _renumbered(value, label, texts.get(path, value))
            return value if new == value else new
        changed = _replaced(inner, path, _NO_STRUCTURE, texts)
        return value if changed is inner else _dump(changed)
    if not isinstance(value, (dict, list)):
        return _renumbered(value, label, texts[path]) if path in texts else value
    children, keys = [], []
    for part, key, child in _children(value, path):
        here = label if isinstance(value, list) else key
        speech = _is_speech(key, child, structure)
        children.append(_replaced(child, part, _below(key, structure), texts, here) if speech else child)
        keys.append(texts.get(f"{part}~", key))
    if isinstance(value, list):
        return value if all(a is b for a, b in zip(children, value, strict=True)) else children
    if keys == list(value) and all(a is b for a, b in zip(children, value.values(), strict=True)):
        return value
    return dict(zip(_distinct(keys), children, strict=True))


def _distinct(keys: Sequence[str]) -> Iterator[str]:
    """The keys, with a number behind those that stand there already: two keys may have got one new name."""
    seen: set[str] = set()
    for key in keys:
        number, name = 1, key
        while name in seen:
            number += 1
            name = f"{key} ({number})"
        seen.add(name)
        yield name


def _is_speech(key: str, child: Any, structure: frozenset[str]) -> bool:
    # A property may be called "name" or "type"; then its schema is an object.
    named = key == "name" and isinstance(child, str) and not _FUNCTION_NAME.fullmatch(child)
    called = key == "id" and isinstance(child, str) and _is_odd_id(child)
    return key not in structure or isinstance(child, dict) or named or called


def _below(key: str, structure: frozenset[str]) -> frozenset[str]:
    return _NO_STRUCTURE if key == "arguments" else structure


def _children(value: dict[str, Any] | list[Any], path: str) -> Iterator[tuple[str, str, Any]]:
    """(path, key, child) of each member; list members have their number as key."""
    if isinstance(value, list):
        for number, child in enumerate(value):
            yield f"{path}/{number}", str(number), child
        return
    for number, (key, child) in enumerate(value.items()):
        name = key if _PLAIN_KEY.fullmatch(key) else f"#{number}"
        yield f"{path}/{name}", key, child


def _inner_json(value: str, path: str) -> dict[str, Any] | list[Any] | None:
    """The parsed arguments of a function call (JSON text inside JSON), or None for every other string."""
    if not path.endswith("/function/arguments") or "/tool_calls/" not in path or value.strip()[:1] not in ("{", "["):
        return None
    try:
        inner = _parse(value)
    except (ValueError, RecursionError):
        return None
    return inner if isinstance(inner, (dict, list)) else None


def _parse(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands twice")
    return value


def _dump(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # lone surrogates, which Arrow can't hold: write them as escapes
        return json.dumps(value)
    return text
