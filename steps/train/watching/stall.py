"""Says when no step ends for long, and where the training hangs: data that don't come, a device, a disk, a lock."""

import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Self

# Chosen: no step of a model that fits takes longer unless something hangs; slower ones set a longer limit themselves.
STALL_SECONDS = 300.0
_TIMES_SLOWEST = 10.0
# Chosen: frames that are named, the innermost last.
_FRAMES = 3


class StallWatch:
    """A context manager; `beat()` is called when a step has ended. One thread, which sleeps.

    Args:
        tell: is told once per stall: what, and where the training hangs.
        seconds: without a beat that are a stall, or ten times the slowest step if that is longer.
    """

    def __init__(self, tell: Callable[[str], None], seconds: float = STALL_SECONDS) -> None:
        self._tell, self._seconds, self._slowest = tell, seconds, 0.0
        self._last, self._told = time.monotonic(), False
        self._over = threading.Event()
        self._watched = threading.get_ident()
        self._thread = threading.Thread(target=self._watch, name="stall-watch", daemon=True)

    def beat(self) -> None:
        """A step has ended."""
        now = time.monotonic()
        self._slowest, self._last, self._told = max(self._slowest, now - self._last), now, False

    @property
    def limit(self) -> float:
        """Seconds without a step that are too many."""
        return max(self._seconds, _TIMES_SLOWEST * self._slowest)

    def _watch(self) -> None:
        while not self._over.wait(max(0.01, self._seconds / 10)):
            quiet = time.monotonic() - self._last
            if quiet > self.limit and not self._told:
                self._told = True
                self._tell(f"no step has ended for {quiet:.0f} s: {self._place()}")

    def _place(self) -> str:
        frame = sys._current_frames().get(self._watched)
        if frame is None:
            return "its thread has ended"
        found = traceback.extract_stack(frame)[-_FRAMES:]
        return "it is in " + ", ".join(f"{f.name} ({_short(f.filename)}:{f.lineno})" for f in reversed(found))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()


def _short(path: str) -> str:
    """A file without the folders that only this machine has."""
    return "/".join(path.rsplit("/", 3)[-3:])
