"""Progress and time of long work: rich's bar on a terminal, nothing elsewhere; single lines everywhere.

ASSAY_PROGRESS=off silences it (the command line sets it for --json).
"""

import os
import resource
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

# Chosen: shorter work shows nothing.
_SILENT_SECONDS = 2.0
_BAR_SECONDS = 0.2


def say(line: str) -> None:
    """One line on standard error; nothing when ASSAY_PROGRESS is off."""
    if os.environ.get("ASSAY_PROGRESS") != "off":
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


class Progress:
    """Counts units of work and says how fast and how long still. A context manager; writes to standard error. `note` is
    shown beside the bar.

    The bar is drawn by `advance` and by no thread of its own, so that a process may be forked at any time.
    """

    def __init__(self, what: str, total: int | None = None, unit: str = "rows") -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done = 0
        self.note = ""
        self._next = time.monotonic() + _SILENT_SECONDS
        self._wanted = sys.stderr.isatty() and os.environ.get("ASSAY_PROGRESS") != "off"
        self._bar: Bar | None = None

    def advance(self, count: int = 1) -> None:
        """Add finished units."""
        self.done += count
        if self._wanted and time.monotonic() >= self._next:
            self._next = time.monotonic() + _BAR_SECONDS
            self._show()

    def _show(self) -> None:
        if self._bar is None:
            self._bar = _bar(self.unit)
            self._bar.add_task(self.what, total=self.total, completed=self.done, note=self.note)
            self._bar.start()
        task = self._bar.task_ids[0]
        self._bar.update(task, completed=self.done, total=self.total, note=self.note, refresh=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()


def _bar(unit: str) -> "Bar":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )  # fmt: skip
    return Bar(*columns, console=Console(stderr=True), auto_refresh=False, transient=True)


class Stopwatch:
    """Wall-clock and CPU seconds since it was made; CPU includes finished child processes."""

    def __init__(self) -> None:
        self._wall = time.monotonic()
        self._cpu = _cpu_seconds()

    @property
    def seconds(self) -> float:
        """Wall-clock seconds so far."""
        return time.monotonic() - self._wall

    @property
    def cpu_seconds(self) -> float:
        """User and system CPU seconds so far, finished child processes included."""
        return _cpu_seconds() - self._cpu


def _cpu_seconds() -> float:
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    return total
