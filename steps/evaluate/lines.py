"""JSON Lines of control files and suites, line by line, with the line in every error."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from steps.contracts.errors import InputError
from steps.engines.llm.reply_json import is_unicode

# Chosen: far more than any question has; a file without line breaks would be read whole otherwise.
_LONGEST = 10_000_000


def objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number from 1, JSON object) of each line that isn't empty.

    Raises:
        InputError: a line is no JSON object, or no text.
    """
    with path.open("rb") as lines:
        number = 0
        while line := lines.readline(_LONGEST):
            number += 1
            where = f"{path}, line {number}"
            if len(line) == _LONGEST:
                raise InputError(f"longer than {_LONGEST:,} bytes", where=where)
            if line.strip():
                yield number, _object(line, where)


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line.decode("utf-8-sig"), parse_constant=_refuse)
    except UnicodeDecodeError as e:
        raise InputError(f"not UTF-8 text (byte {e.start} of the line)", where=where) from e
    except (ValueError, RecursionError) as e:
        raise InputError("not JSON", where=where) from e
    if not isinstance(value, dict):
        raise InputError("not a JSON object", where=where)
    if not is_unicode(value):
        raise InputError(
            "half a character in it (a lone surrogate)", where=where, hint="write it whole, or leave it out"
        )
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")
