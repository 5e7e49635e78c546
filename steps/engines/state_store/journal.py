"""Lines that are there at once, before the file that they belong to is written: what a killed process leaves."""

import fcntl
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from steps.contracts.storage import writing

_SUFFIX = ".journal"


class Journal:
    """Lines of this process beside a file. One that `add` took survives the process, however it ends, until it is in
    the file, which survives the machine's end as well.

    Two files take turns: `turn` says that what was added before is being written, `forget` that it is written.
    """

    def __init__(self, beside: Path) -> None:
        self._files = [_Part(beside), _Part(beside)]

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

    def close(self) -> None:
        """No line will come. Those that weren't written stay for whoever comes next."""
        for part in self._files:
            part.close()


class _Part:
    def __init__(self, beside: Path) -> None:
        self._path = beside.with_name(f"{beside.name}.{secrets.token_hex(8)}{_SUFFIX}")
        self._empty = True
        with writing(self._path):
            self._handle = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        fcntl.flock(self._handle, fcntl.LOCK_EX)

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


def take_over(beside: Path, merge: Callable[[list[bytes]], None]) -> None:
    """Give the lines that dead processes left beside a file to `merge`, and remove them. A cut line is none."""
    for path in sorted(beside.parent.glob(f"{beside.name}.*{_SUFFIX}")):
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
