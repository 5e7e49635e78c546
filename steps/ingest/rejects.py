"""Rows that can't be read: why, and the file that keeps them."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

from steps.contracts.errors import InputError
from steps.engines.state_store.store import store_of

REJECTS = "rejects.jsonl"
# Chosen: enough to recognise a row, little enough to read.
_EXCERPT_CHARS = 500
# Chosen: one may be an accident, three show what they have in common.
FIRST = 3


@dataclass(frozen=True)
class Reject:
    """Where a rejected row stood and why. `line` is 1-based; None where the file has no lines."""

    source: str
    locator: str
    line: int | None
    reason: str
    hint: str

    def __str__(self) -> str:
        line = f" line {self.line}" if self.line is not None else ""
        return f"{self.source}{line} ({self.locator}): {self.reason}: {self.hint}"


@contextmanager
def keeping_rejects(folder: Path, target: Path) -> Iterator[None]:
    """When reading into `folder`, which will go away, fails: copy its reject file to `target`, and name that one."""
    try:
        yield
    except InputError as e:
        written = folder / REJECTS
        if not written.is_file() or not written.stat().st_size:
            raise
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(written, target)
        store = store_of(target.parent)
        if store is not None:
            store.put(target.name, target)
        location = str(target) if store is None else f"{store.uri}/{target.name}"
        raise InputError(e.what, where=e.where, hint=(e.hint or "").replace(str(written), location)) from e


class RejectWriter:
    """Writes `rejects.jsonl`; a context manager. Every line says `"raw_data": true`, since it holds unscrubbed text.

    `first` keeps the first few of each reason without their text, for error messages.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.first: dict[str, list[Reject]] = {}
        self.rows = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8")

    def add(self, reject: Reject, raw: bytes) -> None:
        """Add one row with an excerpt of its bytes; what isn't UTF-8 is shown as \\xNN."""
        self._keep(reject)
        excerpt = raw[: 4 * _EXCERPT_CHARS].decode("utf-8", "backslashreplace")[:_EXCERPT_CHARS]
        line = {**reject.__dict__, "raw_data": True, "raw": excerpt}
        self._write(json.dumps(line, ensure_ascii=False) + "\n")

    def copy(self, other: Path, start: int = 0, stop: int | None = None) -> None:
        """Add the lines [start, stop) of a finished reject file."""
        with other.open(encoding="utf-8") as lines:
            for line in islice(lines, start, stop):
                self._keep(_reject(line))
                self._write(line)

    def _keep(self, reject: Reject) -> None:
        first = self.first.setdefault(reject.reason, [])
        if len(first) < FIRST:
            first.append(reject)

    def _write(self, line: str) -> None:
        self._file.write(line)
        self.rows += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._file.close()


def _reject(line: str) -> Reject:
    """What a line of a reject file says, without the row's bytes."""
    values = json.loads(line)
    return Reject(**{f.name: values[f.name] for f in fields(Reject)})
