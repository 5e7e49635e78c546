"""Lines that many processes on many machines add to: each writes files of its own, and readers take all of them.

A file's name is the digest of its content, so that it is written once and never by two with different content. Lines
that one process adds while a file is on its way go into its next one together. At its end its files become one.
"""

import hashlib
import threading
from collections.abc import Collection, Iterator

from steps.contracts.errors import InputNotFoundError, IntegrityError
from steps.engines.state_store.store import StateStore

_SUFFIX = ".lines"


class Segments:
    """Lines of bytes without line breaks, in any order, each at least once."""

    def __init__(self, store: StateStore) -> None:
        self.store = store
        self._waiting: list[bytes] = []
        self._added = self._stored = 0
        self._own: dict[str, list[bytes]] = {}
        self._error: Exception | None = None
        self._closed = False
        self._change = threading.Condition()
        self._writer = threading.Thread(target=self._write, daemon=True)
        self._writer.start()

    def read(self, known: Collection[str]) -> Iterator[tuple[str, list[bytes]]]:
        """Name and lines of every file that isn't `known`. One that its writer has merged meanwhile is left out: its
        lines are in the merged one, which the next reader sees.

        Raises:
            IntegrityError: a file isn't what its name says.
        """
        for name in self.store.names():
            if not name.endswith(_SUFFIX) or name in known:
                continue
            try:
                data = self.store.get(name)
            except InputNotFoundError:
                continue
            if _name(data) != name:
                raise IntegrityError(
                    "a file of the durable state is damaged", where=f"{self.store.uri}/{name}",
                    hint="remove it: what it held is asked anew",
                )  # fmt: skip
            yield name, data.splitlines()

    def add(self, line: bytes) -> None:
        """Add a line; it is stored soon, and when `flush` has returned.

        Raises:
            ServiceError, StorageError: an earlier line couldn't be stored.
        """
        with self._change:
            self._check()
            self._waiting.append(line)
            self._added += 1
            self._change.notify_all()

    def flush(self) -> None:
        """Wait until all lines that were added before are stored.

        Raises:
            ServiceError, StorageError: they can't be.
        """
        with self._change:
            goal = self._added
            self._change.wait_for(lambda: self._stored >= goal or self._error is not None)
            self._check()

    def close(self) -> None:
        """Store what is left, and merge this process's files into one."""
        try:
            self.flush()
        finally:
            with self._change:
                self._closed = True
                self._change.notify_all()
            self._writer.join()
        if len(self._own) > 1:
            self._put([line for lines in self._own.values() for line in lines])
            for name in list(self._own)[:-1]:
                self.store.remove(name)

    def _write(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: bool(self._waiting) or self._closed)
                lines, self._waiting = self._waiting, []
            if not lines:
                return
            try:
                self._put(lines)
            except Exception as e:  # noqa: BLE001 - told to whoever adds or waits
                with self._change:
                    self._error = e
                    self._change.notify_all()
                return
            with self._change:
                self._stored += len(lines)
                self._change.notify_all()

    def _put(self, lines: list[bytes]) -> None:
        data = b"".join(line + b"\n" for line in lines)
        self.store.put(_name(data), data)
        self._own[_name(data)] = lines

    def _check(self) -> None:
        if self._error is not None:
            raise self._error


def _name(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32] + _SUFFIX
