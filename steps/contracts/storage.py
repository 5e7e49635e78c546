"""Writing whole files or none: a name appears only when its bytes are complete and on disk."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from steps.contracts.errors import StorageError

# Variables that say where state lies on this machine, and where it lasts when that is elsewhere. A step's are set by
# what starts it.
STATE, STATE_URI = "ASSAY_STATE", "ASSAY_STATE_URI"
# Below the state folder: what is worked on, in folders that each belong to one process, and are removed after it.
WORK = "work"
_OUT_OF_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# The same in the words of libraries that pass on the text alone: SQLite's, and the system's.
_SIGNS = ("database or disk is full", *(f"[Errno {n}]" for n in _OUT_OF_ROOM), "No space left on device")
_CLIENTS = ("aiohttp", "httpx", "requests", "urllib3")
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_FOLDER = (errno.EEXIST, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write below `path` into a StorageError that names it."""
    try:
        yield
    except StorageError:
        raise
    except OSError as e:
        if _out_of_room(e):
            raise _no_room(str(path)) from e
        if e.errno in _NOT_ALLOWED:
            raise StorageError(
                "not allowed to write here", where=str(path), hint="choose another folder, or change its permissions"
            ) from e
        if e.errno in _NO_FOLDER:
            raise StorageError(
                f"no folder can be made here: {os.strerror(e.errno)}",
                where=str(path),
                hint="a part of this path is a file, or a link that leads nowhere: choose another folder, or remove it",
            ) from e
        raise


def full_disk(error: BaseException) -> StorageError | None:
    """The StorageError that an error comes down to when a disk is full, however many libraries have wrapped it: that
    shows itself in SQLite, ZenML, MLflow and torch, each with a type of its own. None: it has another cause.
    """
    causes = list(_causes(error))
    full = next((e for e in causes if _out_of_room(e)), None)
    if full is None:
        return None
    named = next((e for e in causes if isinstance(e, StorageError)), None)
    return named or _no_room(str(getattr(full, "filename", None) or "this machine"))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from, the last one first; each once."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [e for e in (one.__context__, one.__cause__) if e is not None]
        waiting += one.exceptions if isinstance(one, BaseExceptionGroup) else ()


def _out_of_room(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in _OUT_OF_ROOM:
        return True
    # What a server says of its own disk is no fault of this one.
    return not type(error).__module__.startswith(_CLIENTS) and any(sign in str(error) for sign in _SIGNS)


def _no_room(where: str) -> StorageError:
    return StorageError(
        "no space left to write", where=where, hint="free disk space and run again: finished steps are kept"
    )


def write_whole(path: Path, data: bytes | str) -> None:
    """Write a small file so that a reader sees the old content or the new one, never half of it."""
    raw = data.encode() if isinstance(data, str) else data
    with aside(path) as partial, partial.open("wb") as f:
        f.write(raw)
        f.flush()
        os.fsync(f.fileno())


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """A name beside `path` that no other process has. The file written there becomes `path` when the block ends well.

    What has `path` open, or mapped into memory, keeps the old file: one that is cut off while it is mapped ends its
    reader (SIGBUS).
    """
    # A process's number isn't enough: containers that share a folder each count from 1.
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
