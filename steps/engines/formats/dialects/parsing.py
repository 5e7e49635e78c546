"""Values of columns that may be written as text."""

import ast
import json
import math
from typing import Any

from steps.contracts.digests import canonical_json
from steps.engines.formats.rejected import RowRejected

# Chosen: Python's parser takes a hundred times the text's size in memory.
_LONGEST_LITERAL = 1 << 20


def _none(_: str) -> None:
    return None


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


class DuplicateKey(ValueError):
    """An object says two things under one key: JSON lets a parser choose either."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"key {key[:60]!r} stands twice, with different values")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        for key, value in pairs:
            if found[key] != value:
                raise DuplicateKey(key)
    return found


# JSON in which control characters may stand in strings; numbers that JSON lacks (NaN, Infinity) or that no float can
# hold (1e999) are null.
DECODER = json.JSONDecoder(strict=False, parse_constant=_none, parse_float=_finite, object_pairs_hook=_once)
_STRICT = json.JSONDecoder(parse_constant=_none, parse_float=_finite)


def parsed(value: Any, column: str) -> Any:
    """The value, or what its text says when it is text that starts like a list or object: JSON, or Python's literals
    (what pandas writes into a CSV).
    """
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return DECODER.decode(value)
        except DuplicateKey as e:
            raise RowRejected("duplicate_key", f"column {column!r}: {e}") from None
        except (ValueError, RecursionError):
            found = literal(value)
            if found is None:
                raise RowRejected("broken_json", f"column {column!r} starts like JSON, but isn't") from None
            return found
    return value


def loaded(text: str) -> Any:
    """What text says as JSON, as JSON inside JSON, or as Python's literals; None when it says nothing so."""
    try:
        value = _STRICT.decode(text)
        return _STRICT.decode(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return literal(text)


def literal(text: str) -> Any:
    """What text says as Python's literals, if JSON can say the same; None for everything else."""
    if len(text) > _LONGEST_LITERAL:
        return None
    try:
        value = ast.literal_eval(text.strip())
        json.dumps(value, allow_nan=False)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None
    return value


def json_text(value: Any) -> str:
    """Canonical JSON. What JSON can't say is null (1e999) or text (dates, bytes)."""
    try:
        return canonical_json(value)
    except (ValueError, TypeError):
        return canonical_json(_sayable(value))


def _sayable(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): _sayable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_sayable(v) for v in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value if value is None or isinstance(value, (str, int)) else str(value)
