"""Locks between processes of one machine, and files that one process makes whole for all of them."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from steps.contracts.storage import writing


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Held by one process at a time; the others wait. The system frees it when its holder dies, however it dies.

    `file` is made where it is missing and stays: a lock that is removed could be held twice.
    """
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = file.open("a")
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


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
