"""What a worker process runs: one kind of work, prepared at the first item."""

import os
import signal
import threading
from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.connection import wait
from typing import Any

from steps.contracts.execution import Work


class _Worker:
    """This process as a worker; made once in it."""

    def __init__(self) -> None:
        self.work: Work[Any, Any] | None = None
        self.function: Callable[[Any], Any] | None = None

    def do(self, item: Any) -> Any:
        assert self.work is not None, "start() comes first"
        if self.function is None:
            self.function = self.work.prepare(self.work.settings)
        return self.function(item)


_WORKER = _Worker()


def start(work: Work[Any, Any]) -> None:
    """Make this process a worker for this kind of work. It ends when its parent does, and leaves Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _WORKER.work = work
    threading.Thread(target=_end_with_parent, daemon=True).start()


def process_id() -> int:
    """The process id of this worker."""
    return os.getpid()


def do(item: Any) -> Any:
    """The item's result. What goes wrong with the item is raised in the parent."""
    return _WORKER.do(item)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
