"""Answers of an evaluation that was interrupted, kept while it goes on, so that the next one asks for the others only.

A line per answer: the digest of what was asked, the answer's tokens, and a digest of both; a line without (one that a
crash tore, or that was changed) counts for nothing. It is in the file when its answer has ended, and on disk when its
batch is answered. When the evaluation has come to its end, its report holds them, and the file goes.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from steps.contracts.digests import value_digest
from steps.contracts.storage import writing
from steps.engines.state_store.segments import Segments
from steps.engines.state_store.store import store_of


class KeptAnswers:
    """Those of one model, asked in one way."""

    def __init__(self, lines: Sequence[bytes], file: int, segments: Segments | None) -> None:
        self._known: dict[str, list[int]] = {}
        for line in lines:
            if (found := _read(line)) is not None:
                self._known[found[0]] = found[1]
        self._file, self._segments = file, segments

    def get(self, ids: Sequence[int], room: int) -> list[int] | None:
        """The tokens of the answer of an earlier process; None: it has none."""
        return self._known.get(_key(ids, room)) if self._known else None

    def add(self, ids: Sequence[int], room: int, said: Sequence[int]) -> None:
        """Keep an answer that has ended. What can't be written is asked anew, should it come to that."""
        key = _key(ids, room)
        line = json.dumps([key, list(said), value_digest([key, list(said)])]).encode()
        if self._segments is not None:
            self._segments.add(line)
            return
        with suppress(OSError):
            os.write(self._file, line + b"\n")

    def settle(self) -> None:
        """Have them on disk."""
        if self._segments is not None:
            self._segments.flush()
            return
        with suppress(OSError):
            os.fdatasync(self._file)


@contextmanager
def kept_answers(folder: Path, parts: Mapping[str, Any]) -> Iterator[KeptAnswers]:
    """The answers of an evaluation until it ends well. `parts`: JSON values of all that decides over an answer but its
    prompt and room.

    Raises:
        StorageError: the file can't be made. ServiceError: the durable state can't be reached.
    """
    path = folder / f"{value_digest(dict(parts))[:32]}.jsonl"
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        lines = _whole_lines(file)
    store = store_of(path.with_suffix(""))
    segments = Segments(store) if store is not None else None
    try:
        if segments is not None:
            lines += [line for _, more in segments.read(()) for line in more]
        yield KeptAnswers(lines, file, segments)
    finally:
        os.close(file)
        if segments is not None:
            segments.close()
    path.unlink(missing_ok=True)
    if store is not None:
        for name in store.names():
            store.remove(name)


def _whole_lines(file: int) -> list[bytes]:
    """The file's lines; what a crash left of one is ended, so that the next begins a line of its own."""
    with os.fdopen(os.dup(file), "rb") as there:
        there.seek(0)
        data = there.read()
    if data and not data.endswith(b"\n"):
        os.write(file, b"\n")
    return data.splitlines()


def _read(line: bytes) -> tuple[str, list[int]] | None:
    try:
        key, said, digest = json.loads(line)
    except (ValueError, TypeError):
        return None
    whole = isinstance(said, list) and all(type(token) is int for token in said) and digest == value_digest([key, said])
    return (key, said) if whole else None


def _key(ids: Sequence[int], room: int) -> str:
    return value_digest([list(ids), room])
