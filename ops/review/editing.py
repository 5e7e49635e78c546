"""A row in the person's own editor, as JSON in a private temporary file."""

import json
import os
import shlex
import shutil
import subprocess
import tempfile
import unicodedata
from pathlib import Path

from steps.contracts.errors import InputError, MissingDependencyError
from steps.contracts.records import Row
from steps.review.edits import content_of, edited

_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn")


def edit(row: Row, draft: str | None = None) -> tuple[str, Row | None, str]:
    """(what the person saved, the row that it makes or None, what is wrong with it).

    `draft` is an earlier attempt to go on from.

    Raises:
        MissingDependencyError: no editor is there. InputError: the editor failed.
    """
    saved = _in_editor(draft or as_json(row))
    try:
        return saved, edited(row, json.loads(saved)), ""
    except InputError as e:
        return saved, None, e.what
    except json.JSONDecodeError as e:
        return saved, None, f"not JSON: {e.msg} at line {e.lineno}, column {e.colno}"
    except (ValueError, RecursionError):
        return saved, None, "not JSON that can be read: nested too deep, or a number too long"


def as_json(row: Row) -> str:
    """The row's content as JSON in which every character that a terminal hides is written as an escape."""
    text = json.dumps(content_of(row), ensure_ascii=False, indent=1)
    return "".join(json.dumps(c)[1:-1] if c != "\n" and unicodedata.category(c) in _HIDDEN else c for c in text) + "\n"


def _in_editor(text: str) -> str:
    command = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "") or _found()
    # mkdtemp: readable by its owner only.
    folder = Path(tempfile.mkdtemp(prefix="assay-review-"))
    try:
        path = folder / "row.json"
        path.write_text(text, encoding="utf-8")
        status = subprocess.run([*command, str(path)], check=False).returncode
        if status:
            raise InputError(f"the editor ended with status {status}", where=command[0])
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError as e:
        raise MissingDependencyError("no such editor", where=command[0], hint="set EDITOR") from e
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _found() -> list[str]:
    for name in ("nano", "vi"):
        if shutil.which(name):
            return [name]
    raise MissingDependencyError("no editor found", hint="set EDITOR to the command of one")
