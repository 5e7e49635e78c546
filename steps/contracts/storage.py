"""Writing whole files or none: a name appears only when its bytes are complete and on disk."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from steps.contracts.errors import StorageError

_OUT_OF_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write below `path` into a StorageError that names it."""
    try:
        yield
    except StorageError:
        raise
    except OSError as e:
        number = e.errno or next((n for n in _OUT_OF_ROOM if f"[Errno {n}]" in str(e)), None)
        if number in _OUT_OF_ROOM:
            raise StorageError(
                "no space left to write", where=str(path), hint="free disk space and run again: finished steps are kept"
            ) from e
        if number in _NOT_ALLOWED:
            raise StorageError(
                "not allowed to write here", where=str(path), hint="choose another folder, or change its permissions"
            ) from e
        raise


def write_whole(path: Path, data: bytes | str) -> None:
    """Write a small file so that a reader sees the old content or the new one, never half of it."""
    raw = data.encode() if isinstance(data, str) else data
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as f:
                f.write(raw)
                f.flush()
                os.fsync(f.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
