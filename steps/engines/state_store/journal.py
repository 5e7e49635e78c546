"""Lines that are there at once, before the file that they belong to is written: what a killed process leaves."""

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from steps.contracts.storage import writing

_SUFFIX = ".journal"


class Journal:
    """Lines of this process beside a file. One that `add` took survives the process, however it ends, until it is in
    the file, which survives the machine's end as well.

    Two files take turns: `turn` says that what was added before is being written, `forget` that it is written.

    Attributes:
        id: names this process among those that have journals beside the file.
    """

    def __init__(self, beside: Path) -> None:
        self.id = secrets.token_hex(8)
        self._files = [_Part(beside, self.id), _Part(beside, self.id)]

    def add(self, *lines: bytes) -> None:
        """Keep lines, which have no line breaks in them.

        Raises:
            StorageError: the disk is full.
        """
        self._files[0].add(b"".join(line + b"\n" for line in lines))

    def turn(self) -> None:
        """What was added so far is being written."""
        self._files.reverse()

    def forget(self) -> None:
        """What was added before the last turn is written."""
        self._files[1].clear()

    def touch(self) -> None:
        """Show that this process goes on: `last_sign` tells."""
        self._files[0].touch()

    def close(self) -> None:
        """No line will come. Those that weren't written stay for whoever comes next."""
        for part in self._files:
            part.close()


class _Part:
    def __init__(self, beside: Path, whose: str) -> None:
        self._empty = True
        while True:
            self._path = beside.with_name(f"{beside.name}.{whose}.{secrets.token_hex(8)}{_SUFFIX}")
            with writing(self._path):
                self._handle = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
            fcntl.flock(self._handle, fcntl.LOCK_EX)
            if os.fstat(self._handle).st_nlink:
                return
            # Another process took it for a dead one's before it was locked, and removed it.
            os.close(self._handle)

    def touch(self) -> None:
        os.utime(self._handle)

    def add(self, data: bytes) -> None:
        self._empty = False
        with writing(self._path):
            left = memoryview(data)
            while left:
                left = left[os.write(self._handle, left) :]

    def clear(self) -> None:
        if not self._empty:
            os.ftruncate(self._handle, 0)
            self._empty = True

    def close(self) -> None:
        if self._empty:
            self._path.unlink(missing_ok=True)
        os.close(self._handle)


def take_over(beside: Path, merge: Callable[[list[bytes]], None], whose: str = "") -> None:
    """Give the lines that dead processes left beside a file to `merge`, and remove them. A cut line is none.

    `whose`: the id of the only one that is meant.
    """
    for path in sorted(_journals(beside, whose)):
        try:
            handle = path.open("rb")
        except FileNotFoundError:
            continue
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            lines = handle.read().split(b"\n")[:-1]
            if lines and path.exists():
                merge(lines)
            path.unlink(missing_ok=True)


def last_sign(beside: Path, whose: str) -> float | None:
    """When a process last touched or wrote its journal, by the clock of the file's machine; None: it has none, or it
    is dead and its lines were taken over.
    """
    times = []
    for path in _journals(beside, whose):
        with suppress(FileNotFoundError):
            times.append(path.stat().st_mtime)
    return max(times, default=None)


def _journals(beside: Path, whose: str) -> Iterator[Path]:
    return beside.parent.glob(f"{beside.name}.{whose}*{_SUFFIX}")
