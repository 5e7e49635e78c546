"""Locks between processes of one machine; files that one makes whole for all of them, folders that one has alone."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from steps.contracts.storage import writing

# In a folder that one process has alone: locked while that one lives.
_OWNED = ".owned"


@contextmanager
def locked(file: Path, on_wait: Callable[[], None] | None = None) -> Iterator[IO[str]]:
    """Held by one process at a time; the others wait. The system frees it when its holder dies, however it dies, and
    with it those that were given the open file.

    `file` is made where it is missing and stays: a lock that is removed could be held twice. `on_wait` is called before
    this process waits for another.
    """
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = file.open("a")
    with handle:
        if not _is_free(handle):
            if on_wait is not None:
                on_wait()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle


def is_held(file: Path) -> bool:
    """Whether a process has locked this file; it isn't held from now on."""
    with file.open() as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _is_free(handle: IO[str]) -> bool:
    """Whether nobody held the lock of this open file; then it is held from now on."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class OwnFolder:
    """A fresh folder that this process has alone, until it closes it or dies, however it dies.

    That it lives is told by a lock: containers that share a folder don't see each other's processes.
    """

    def __init__(self, parent: Path, prefix: str = "") -> None:
        lock = None
        with writing(parent):
            parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            while lock is None:
                self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
                lock = _taken(self.path)
        self._lock = lock

    def close(self) -> None:
        """Remove it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def _taken(folder: Path) -> IO[str] | None:
    """The lock of a folder that was made just now; None: another process took it for a dead one's, and removed it."""
    file = folder / _OWNED
    with suppress(FileNotFoundError):
        lock = file.open("a")
        fcntl.flock(lock, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock.fileno()), file.stat()):
                return lock
        lock.close()
    return None


def remove_left(parent: Path, prefix: str = "") -> None:
    """Remove the own folders below `parent` whose processes are dead."""
    for folder in parent.glob(f"{prefix}*"):
        # Somebody else's, or removed by another meanwhile.
        with suppress(OSError), (folder / _OWNED).open("a") as lock:
            if _is_free(lock):
                shutil.rmtree(folder, ignore_errors=True)


def make_once(file: Path, make: Callable[[Path], None], is_whole: Callable[[Path], bool] = Path.is_file) -> bool:
    """Have `file`, made by one process while the others wait. Returns whether it was made by this call.

    `make` writes it under another name in the same folder, and it appears under its own when it is on disk: a process
    that is killed meanwhile leaves nothing that could be taken for it. `is_whole` says whether what lies there may
    stay; what may not is replaced.
    """
    if file.is_file() and is_whole(file):
        return False
    with locked(file.with_name(f".{file.name}.lock")), writing(file):
        if file.is_file() and is_whole(file):
            return False
        aside = file.with_name(f".{file.name}.making")
        _clear(aside)
        try:
            make(aside)
            with aside.open("rb") as f:
                os.fsync(f.fileno())
            _clear(file)
            aside.replace(file)
        finally:
            _clear(aside)
    return True


def _clear(file: Path) -> None:
    """Remove a file, and what SQLite lays beside it: a stale journal would be rolled into the new database."""
    for suffix in ("", "-journal", "-wal", "-shm"):
        file.with_name(f"{file.name}{suffix}").unlink(missing_ok=True)
