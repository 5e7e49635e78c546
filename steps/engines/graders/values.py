"""Text and JSON values compared: what counts as the same answer."""

import json
import unicodedata
from typing import Any

# Chosen: a model that babbles brackets must not exhaust the stack of whoever compares its answer.
_DEEPEST_JSON = 64
# What an extractor gives when there is nothing to compare.
NOTHING = object()


def normalise(text: str, *, ignore_case: bool = False) -> str:
    """Unicode NFC, runs of white space as one space, ends trimmed; with `ignore_case` case-folded."""
    flat = " ".join(unicodedata.normalize("NFC", text).split())
    return flat.casefold() if ignore_case else flat


def parse_json(text: str) -> Any:
    """The text as a JSON value, or the marker for nothing. NaN, Infinity and text around the value are no JSON."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return NOTHING
    return value if _depth_within(value, _DEEPEST_JSON) else NOTHING


def _depth_within(value: Any, deepest: int) -> bool:
    """Whether arrays and objects are nested at most `deepest` levels, told without recursion."""
    level = [value]
    for _ in range(deepest + 1):
        level = [
            inner for v in level for inner in (v.values() if isinstance(v, dict) else v if isinstance(v, list) else ())
        ]
        if not level:
            return True
    return False


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def same(a: Any, b: Any, *, ignore_case: bool = False) -> bool:
    """Equality of JSON values: numbers by value (1 = 1.0), true is not 1, strings normalised, keys in any order."""
    if isinstance(a, bool) or isinstance(b, bool):
        return isinstance(a, bool) and isinstance(b, bool) and a == b
    if isinstance(a, str) and isinstance(b, str):
        return normalise(a, ignore_case=ignore_case) == normalise(b, ignore_case=ignore_case)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k], ignore_case=ignore_case) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y, ignore_case=ignore_case) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def json_type(value: Any) -> str:
    """JSON's name of a value's type; a whole number is a number as any other."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    kinds = ((str, "string"), (int | float, "number"), (list, "array"), (dict, "object"))
    return next(name for kind, name in kinds if isinstance(value, kind))


def fields(value: dict[str, Any], prefix: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """The leaf fields of nested objects by path; a list is one field, and so is an empty object."""
    found: dict[tuple[str, ...], Any] = {}
    for key, inner in value.items():
        path = (*prefix, key)
        found |= fields(inner, path) if isinstance(inner, dict) and inner else {path: inner}
    return found


def shared_fields(answer: Any, reference: dict[str, Any], *, ignore_case: bool = False) -> float | None:
    """Share of the reference's fields that the answer has with an equal value; None for a reference without fields.

    Further fields in the answer cost nothing here; exact_match and a schema see them.
    """
    wanted = fields(reference)
    if not wanted:
        return None
    given = fields(answer) if isinstance(answer, dict) else {}
    right = sum(path in given and same(given[path], v, ignore_case=ignore_case) for path, v in wanted.items())
    return right / len(wanted)
