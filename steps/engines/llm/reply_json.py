"""The JSON objects in a model's reply, whatever it wrote around them. Tolerant of form, never of content.

1. Thinking is left out: blocks of <think> or <thinking>, an unfinished one, and all before a stray end tag.
2. Prose and code fences around objects are passed over; objects within objects are parts of these.
3. Trailing commas and raw line breaks in strings are read, and so is an object written as Python writes it (single
   quotes, True, None).
4. An object that names one key twice, or that never ends, and all that stands within it or behind it, is not read.
"""

import ast
import json
import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from steps.engines.text.normalise import normal_form

_THINKING = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
_STRAY_END = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
# A string, with the escapes of JSON and Python, or an opening or closing bracket.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)
_PYTHON_TOKEN = re.compile(r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"|[{}\[\]]", re.DOTALL)
_TRAILING_COMMA = re.compile(r'("(?:[^"\\]|\\.)*")|,(?=\s*[}\]])', re.DOTALL)
_ESCAPE = re.compile(r"\\+u([0-9a-fA-F]{4})")
_NO_CONTENT = re.compile(r"[\s\"'\\]+")
# Replies are capped by max_tokens; this bounds the work on a hostile one.
_MAX_BRACES = 256
# Chosen: Python's own parser grows with the depth of what it reads.
_MAX_PYTHON_CHARS, _MAX_PYTHON_DEPTH = 20_000, 20


@dataclass(frozen=True)
class Found:
    """Objects in the order of the text, equal ones once.

    unread: why the text wasn't read to its end: an object is unfinished, one names a key twice, there are too many.
    """

    objects: list[dict[str, Any]]
    unread: Literal["unfinished", "twice", "many"] | None = None


def json_objects(text: str, accept: Callable[[dict[str, Any]], bool]) -> Found:
    """The accepted top-level objects in a text."""
    text = _STRAY_END.split(_THINKING.sub("", text))[-1]
    found: list[dict[str, Any]] = []
    at = text.find("{")
    for _ in range(_MAX_BRACES):
        if at < 0:
            return Found(found)
        try:
            value, end = _object(text, at)
        except _UnfinishedError:
            return Found(found, "unfinished")
        except _TwiceError:
            return Found(found, "twice")
        if value is not None and accept(value) and value not in found:
            found.append(value)
        at = text.find("{", end)
    return Found(found, "many")


def stands_in(value: dict[str, Any], texts: Iterable[str]) -> bool:
    """Whether an object stands in a text, however it is quoted, escaped, nested or spaced there, or left unfinished
    around it. Unlike `json_objects` it passes over nothing: who wrote the texts may hide an object from that reader
    and still have it repeated.
    """
    # Without its own brackets: there, more may stand in it.
    sought = _bare(json.dumps(value, ensure_ascii=False))[1:-1]
    return any(sought in _bare(text) for text in texts if text)


def _bare(text: str) -> str:
    """A text without blanks, quotes and escapes, in its normal form."""
    text = _ESCAPE.sub(lambda m: chr(int(m[1], 16)), text)
    return _NO_CONTENT.sub("", normal_form(text)).replace(",}", "}").replace(",]", "]")


def is_unicode(value: Any) -> bool:
    """Whether all text in JSON values can be written as UTF-8: an escape may stand for half a character."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


class _UnfinishedError(ValueError):
    """An object never ends."""


class _TwiceError(ValueError):
    """An object names a key twice."""


def _object(text: str, at: int) -> tuple[dict[str, Any] | None, int]:
    """The object that begins at a brace, and its end; None, and the next place, where a brace begins none.

    Raises:
        _UnfinishedError, _TwiceError: it is an object, and can't be read for what it holds.
    """
    try:
        # Most objects are JSON to their end; what follows says the same of them, and why not of others.
        return _JSON.raw_decode(text, at)
    except (ValueError, RecursionError):
        pass
    ends = _end(text, at, _TOKEN), _end(text, at, _PYTHON_TOKEN)
    if ends == (None, None):
        raise _UnfinishedError
    for read, end in ((_as_json, ends[0]), (_as_json_with_commas, ends[0]), (_as_python, ends[1])):
        if end is None:
            continue
        try:
            value = read(text[at:end])
        except _TwiceError:
            raise
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
        return (value, end) if isinstance(value, dict) else (None, at + 1)
    # As it is written it never ends: what the other way of writing takes for its end is a bracket in a string.
    if {'"': ends[0], "'": ends[1]}.get(text[at + 1 :].lstrip()[:1], at) is None:
        raise _UnfinishedError
    return None, at + 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key.strip().casefold() for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise _TwiceError
    return dict(pairs)


_JSON = json.JSONDecoder(strict=False, object_pairs_hook=_unique)


def _as_json(text: str) -> Any:
    return _JSON.decode(text)


def _as_json_with_commas(text: str) -> Any:
    return _as_json(_TRAILING_COMMA.sub(lambda m: m[1] or " ", text))


def _as_python(text: str) -> Any:
    if len(text) > _MAX_PYTHON_CHARS:
        raise ValueError
    with warnings.catch_warnings():
        # Python says something about odd escapes.
        warnings.simplefilter("ignore")
        tree = ast.parse(text, mode="eval")
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            _unique([(str(ast.literal_eval(key)), None) for key in node.keys if key is not None])
    return ast.literal_eval(tree)


def _end(text: str, at: int, token: re.Pattern[str]) -> int | None:
    """Where the bracket at this place is closed; None: nowhere, or it is nested too deeply."""
    depth = 0
    for found in token.finditer(text, at):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(found[0], 0)
        if depth == 0:
            return found.end()
        if token is _PYTHON_TOKEN and depth > _MAX_PYTHON_DEPTH:
            return None
    return None
