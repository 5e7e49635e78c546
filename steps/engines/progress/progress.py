"""Progress and time of long work: a bar on a terminal, a line every few seconds elsewhere, nothing when quiet.

ASSAY_PROGRESS=off silences it (the command line sets it for --json).
"""

import os
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")

# Chosen: shorter work shows nothing; a log gets a line this often.
_SILENT_SECONDS = 2.0
_LINE_SECONDS = 5.0
_BAR_SECONDS = 0.2


class Progress:
    """Counts units of work and says how fast and how long still. A context manager; writes to standard error."""

    def __init__(self, what: str, total: int | None = None, unit: str = "rows") -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done = 0
        self._start = time.monotonic()
        self._bar = sys.stderr.isatty()
        self._every = _BAR_SECONDS if self._bar else _LINE_SECONDS
        self._next = self._start + _SILENT_SECONDS
        self._shown = False
        self._off = os.environ.get("ASSAY_PROGRESS") == "off"

    def advance(self, count: int = 1) -> None:
        """Add finished units."""
        self.done += count
        now = time.monotonic()
        if not self._off and now >= self._next:
            self._next = now + self._every
            self._show(now)

    def _show(self, now: float) -> None:
        rate = self.done / max(now - self._start, 1e-9)
        of = f"/{self.total:,}" if self.total else ""
        left = f" · {_clock((self.total - self.done) / rate)} left" if self.total and rate > 0 else ""
        line = f"{self.what} {self.done:,}{of} {self.unit} · {rate:,.0f} {self.unit}/s{left}"
        if self._bar and self.total:
            width = 24
            full = min(width, self.done * width // self.total)
            line = f"{'━' * full}{'╌' * (width - full)} {line}"
        sys.stderr.write(f"\r\x1b[2K{line}" if self._bar else f"{line}\n")
        sys.stderr.flush()
        self._shown = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._shown and self._bar:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()


def track(items: Iterable[T], what: str, total: int | None = None, unit: str = "rows") -> Iterator[T]:
    """The same items, counted one by one."""
    with Progress(what, total, unit) as progress:
        for item in items:
            yield item
            progress.advance()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes else f"{rest} s"


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
