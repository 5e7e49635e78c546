"""How commands wake a scheduler that waits: a named pipe in the state folder, which holds nothing but a ring."""

import errno
import os
import select
from contextlib import suppress
from pathlib import Path

_NAME = "bell"


class Bell:
    """The scheduler's end. It also wakes it from within: a thread that waits for a run, a signal."""

    def __init__(self, folder: Path) -> None:
        self._inside, self._ring = os.pipe()
        os.set_blocking(self._ring, False)
        self._outside: int | None = None
        # A file system without pipes: then a change is seen at the next look, a minute later at most.
        with suppress(OSError):
            file = folder / _NAME
            if not file.exists():
                os.mkfifo(file, 0o600)
            self._outside = os.open(file, os.O_RDWR | os.O_NONBLOCK)

    def ring(self) -> None:
        """Wake it; may be called by a signal's handler."""
        with suppress(BlockingIOError):
            os.write(self._ring, b".")

    def wait(self, seconds: float) -> None:
        """Until somebody rings, or so long."""
        ears = [self._inside, *([self._outside] if self._outside is not None else [])]
        for heard in select.select(ears, [], [], max(0.0, seconds))[0]:
            with suppress(BlockingIOError):
                os.read(heard, 4096)

    def close(self) -> None:
        """Close all ends."""
        for end in (self._inside, self._ring, self._outside):
            if end is not None:
                os.close(end)


def ring(folder: Path) -> None:
    """Wake the scheduler of that folder, if one waits."""
    try:
        end = os.open(folder / _NAME, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as e:
        if e.errno in (errno.ENXIO, errno.ENOENT):
            return
        raise
    try:
        os.write(end, b".")
    except BlockingIOError:
        pass
    finally:
        os.close(end)
