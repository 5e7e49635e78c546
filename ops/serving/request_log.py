"""The log of requests that `assay serve --log` keeps: a line each, on disk before its answer is whole.

A thread writes what has come together and syncs once. Lines are appended under a lock of the file, so that several
servers may share it; one that a crash tore is ended before the next begins. A file that was moved away (logrotate) is
opened anew. A disk that takes nothing stops no answer: what couldn't be written is counted, and said once.
"""

import fcntl
import json
import os
import queue
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

from ops.console import complain
from steps.contracts.errors import ConfigError
from steps.contracts.storage import writing

# Not the model's: who asks, and labels of theirs.
_NOT_LOGGED = frozenset({"user", "metadata", "safety_identifier", "prompt_cache_key", "store", "service_tier"})


class RequestLog:
    """An open log; a context manager. `lost`: lines that couldn't be written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue: queue.SimpleQueue[tuple[bytes, Future[bool]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="request log", daemon=True)
        self._file = -1
        self.lost = 0

    def __enter__(self) -> Self:
        """Open the file, or make it, readable by its owner only.

        Raises:
            ConfigError: it is a folder. StorageError: it can't be written.
        """
        if self._path.is_dir():
            raise ConfigError("a folder is no log", where="--log", hint="name a file in it, such as serve.jsonl")
        with writing(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._open()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Write what waits, and close."""
        self._queue.put(None)
        self._thread.join()
        os.close(self._file)

    def add(self, entry: dict[str, Any]) -> "Future[bool]":
        """Have a line written; says when that is done, and whether it is on disk."""
        done: Future[bool] = Future()
        self._queue.put((json.dumps(entry, ensure_ascii=False).encode("utf-8", "replace") + b"\n", done))
        return done

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _run(self) -> None:
        ended = False
        while not ended:
            batch = [self._queue.get()]
            while not self._queue.empty():
                batch.append(self._queue.get())
            ended = None in batch
            lines = [one for one in batch if one is not None]
            if lines:
                self._keep(lines)

    def _keep(self, lines: list[tuple[bytes, "Future[bool]"]]) -> None:
        try:
            self._follow()
            self._append(b"".join(line for line, _ in lines))
            kept = True
        except OSError as e:
            if not self.lost:
                complain(f"warning: requests can't be logged to {self._path}: {e.strerror}; they are answered")
            self.lost += len(lines)
            kept = False
        for _, done in lines:
            done.set_result(kept)

    def _follow(self) -> None:
        """Open the path anew where another file, or none, lies there now."""
        mine = os.fstat(self._file)
        try:
            there = os.stat(self._path)  # noqa: PTH116 - beside fstat
            same = (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)
        except FileNotFoundError:
            same = False
        if not same:
            new = self._open()
            os.close(self._file)
            self._file = new

    def _append(self, data: bytes) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            size = os.fstat(self._file).st_size
            if size and os.pread(self._file, 1, size - 1) != b"\n":
                data = b"\n" + data
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]
            os.fdatasync(self._file)
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)


def asked_of(chat: Any) -> dict[str, Any]:
    """What a request asks, as it is logged: without who asked it."""
    said: dict[str, Any] = chat.model_dump(mode="json", exclude_none=True, exclude=set(_NOT_LOGGED))
    return said
