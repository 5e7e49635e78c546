"""`assay scheduler`: looks at the table when something is due, starts runs, and writes down what became of them.

It holds nothing that isn't in the table or in the attempts' folders: killed at any moment, the next one goes on. Runs
are sessions of their own, so that a killed scheduler takes none with it; the next one finds those that still live by
their locks, and of the others what they left. Told to end (SIGTERM, Ctrl-C) it starts nothing more, ends its runs as
Ctrl-C does, which keeps their finished steps, and puts their slots back: the next scheduler goes on with them.
"""

import fcntl
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import IO

from ops.console import complain
from ops.schedule import attempts
from ops.schedule.alerts import deliver, keep_due
from ops.schedule.bell import Bell
from ops.schedule.moves import account, changed, claim, clock, conclude, describe
from ops.schedule.outbox import any_waits
from ops.schedule.policy import next_look
from ops.schedule.schedule import Schedule, span_text
from ops.schedule.slots import Result, Slot
from ops.schedule.table import Beat, Table, open_table, schedules_folder
from ops.schedule.watch import mark_of
from steps.contracts.errors import AssayError, ConfigError

# Chosen: what the clock doesn't tell (files that change, a clock that was set) is looked at so often.
_HEARTBEAT = timedelta(seconds=60)
# Chosen: so long may a run take to end when it is told to; systemd kills after 90 s by default.
_GRACE = timedelta(seconds=60)
# Chosen: so many runs at once, of all schedules.
AT_ONCE = 4


@dataclass
class Running:
    """An attempt that is on its way.

    Attributes:
        process: where this scheduler started it; None for one of an earlier scheduler.
        told: since when it is told to end, and why.
    """

    schedule: Schedule
    slot: Slot
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    told: tuple[datetime, str] | None = None


def run_scheduler(root: Path, *, at_once: int | None = None, until_idle: bool = False) -> int:
    """Serve the schedules of this state folder until told to end; `until_idle`: until nothing is due or runs.

    Returns the exit status.

    Raises:
        ConfigError: another scheduler serves it.
    """
    folder = schedules_folder(root)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(folder) as lock:
        if lock is None:
            if until_idle:
                return 0
            what = "another scheduler serves this state folder"
            raise ConfigError(what, where=str(folder), hint="assay status says which; one is enough for all schedules")
        scheduler = Scheduler(root, open_table(root), at_once or AT_ONCE)
        with _signals(scheduler.end):
            return scheduler.serve(until_idle)


class Scheduler:
    """One scheduler, for the time that it lives."""

    def __init__(self, root: Path, table: Table, at_once: int, now: Callable[[], datetime] = clock) -> None:
        self._root, self._table, self._at_once, self._now = root, table, at_once, now
        self._running: dict[tuple[str, datetime], Running] = {}
        self._bell = Bell(schedules_folder(root))
        self._ending = False
        self._since = now()
        self._teller: threading.Thread | None = None
        self._watcher: threading.Thread | None = None
        self._watched = self._since - _HEARTBEAT

    def end(self) -> None:
        """Start nothing more, and end; called by a signal's handler."""
        self._ending = True
        self._bell.ring()

    def serve(self, until_idle: bool) -> int:
        """Look, and wait, again and again."""
        try:
            self._find_running()
            while not self._ending:
                looked = self._look()
                if until_idle and self._is_idle():
                    break
                self._bell.wait((self._next_look(looked) - self._now()).total_seconds())
            self._end_all()
            self._tell(wait=True)
            if self._watcher is not None:
                self._watcher.join(_GRACE.total_seconds())
            self._beat(stopped=True)
            return 0
        finally:
            self._bell.close()

    def _find_running(self) -> None:
        """Go on with what an earlier scheduler had started; what has ended since is found at the first look."""
        with self._table.look() as t:
            schedules = {e.schedule.name: e.schedule for e in t.entries(removed=True)}
            left = t.slots(states=("running",))
        for slot in left:
            one = Running(schedules[slot.schedule], slot, attempts.folder_of(self._root, slot))
            self._running[slot.schedule, slot.at] = one
            if attempts.lives(one.folder):
                _say(f"found {describe(slot, one.schedule.tz)}")
                self._ring_at_end(partial(attempts.wait, one.folder))
        if any(not attempts.lives(one.folder) for one in self._running.values()):
            attempts.reap(self._root)

    def _look(self) -> datetime:
        """Do all that is due; returns the moment up to which that is."""
        now = self._now()
        self._conclude_ended()
        self._end_overdue()
        with self._table.look() as t:
            zones = {e.schedule.name: e.schedule.tz for e in t.entries()}
        for slot in account(self._table, now):
            if not slot.is_open:
                _say(describe(slot, zones.get(slot.schedule, "UTC")))
        while (claimed := claim(self._table, now, self._at_once)) is not None:
            self._start(*claimed)
        self._beat()
        self._tell()
        self._watch()
        return now

    def _start(self, schedule: Schedule, slot: Slot) -> None:
        folder = attempts.folder_of(self._root, slot)
        try:
            process = attempts.start(self._root, schedule, slot)
        except OSError as e:
            done = conclude(self._table, slot, Result("failed", f"it can't be started: {e}"), self._now())
            _say(describe(done or slot, schedule.tz))
            return
        self._running[slot.schedule, slot.at] = Running(schedule, slot, folder, process)
        self._ring_at_end(process.wait)
        _say(f"{describe(slot, schedule.tz)} (attempt {slot.attempts})")

    def _ring_at_end(self, wait: Callable[[], object]) -> None:
        def watch() -> None:
            wait()
            with suppress(OSError):  # this scheduler has ended meanwhile
                self._bell.ring()

        threading.Thread(target=watch, daemon=True).start()

    def _conclude_ended(self) -> None:
        for key, one in list(self._running.items()):
            if one.process.poll() is None if one.process is not None else attempts.lives(one.folder):
                continue
            del self._running[key]
            result = _with_reason(attempts.result_of(self._root, one.schedule, one.slot), one.told, self._ending)
            done = conclude(self._table, one.slot, result, self._now())
            if done is not None:
                _say(describe(done, one.schedule.tz))
            attempts.tidy(self._root, one.schedule.name)

    def _end_overdue(self) -> None:
        """Tell attempts that take too long to end; kill those that don't."""
        now = self._now()
        for one in self._running.values():
            limit = one.schedule.timeout
            if (
                one.told is None
                and limit is not None
                and one.slot.started is not None
                and now >= one.slot.started + limit
            ):
                one.told = now, f"it took longer than {span_text(limit)}"
                attempts.tell(one.folder, signal.SIGTERM, one.process)
            elif one.told is not None and now >= one.told[0] + _GRACE:
                attempts.tell(one.folder, signal.SIGKILL, one.process)

    def _end_all(self) -> None:
        """End all runs as Ctrl-C does, and put their slots back."""
        now = self._now()
        for one in self._running.values():
            one.told = one.told or (now, "")
            attempts.tell(one.folder, signal.SIGTERM, one.process)
        while self._running:
            self._conclude_ended()
            self._end_overdue()
            if self._running:
                self._bell.wait(1.0)

    def _tell(self, *, wait: bool = False) -> None:
        """Send alerts that are due, beside the loop: a server that doesn't answer keeps no slot from its time."""
        keep_due(self._table, self._now())
        with self._table.look() as t:
            waits = any_waits(t, self._now())
        if waits and (self._teller is None or not self._teller.is_alive()):
            self._teller = threading.Thread(target=self._send, daemon=True)
            self._teller.start()
        if wait and self._teller is not None:
            self._teller.join(_GRACE.total_seconds())

    def _send(self) -> None:
        for line in deliver(self._table, self._root, dict(os.environ), self._now):
            _say(line)

    def _watch(self) -> None:
        """Look for changes of what schedules watch, beside the loop and no oftener than once a minute."""
        if self._now() < self._watched + _HEARTBEAT or (self._watcher is not None and self._watcher.is_alive()):
            return
        with self._table.look() as t:
            watching = {e.schedule.name: e.schedule.on_change for e in t.entries() if e.schedule.on_change}
        self._watched = self._now()
        if watching:
            self._watcher = threading.Thread(target=self._compare, args=(watching,), daemon=True)
            self._watcher.start()

    def _compare(self, watching: Mapping[str, Sequence[str]]) -> None:
        for name, watched in watching.items():
            marks = {w: mark for w in watched if (mark := mark_of(self._root, w)) is not None}
            try:
                slot = changed(self._table, name, marks, self._now())
            except AssayError as e:  # removed meanwhile
                _say(e.what)
                continue
            if slot is not None:
                _say(describe(slot, "UTC"))
                self._bell.ring()

    def _is_idle(self) -> bool:
        with self._table.look() as t:
            return not t.opened()

    def _next_look(self, looked: datetime) -> datetime:
        """When something is next to be done, after the moment up to which all is done."""
        with self._table.look() as t:
            opened = t.opened()
            moments = [
                next_look(e.schedule, e.accounted, [s for s in opened if s.schedule == e.schedule.name], looked)
                for e in t.entries()
                if e.paused is None or any(s.schedule == e.schedule.name for s in opened)
            ]
        moments += [self._next_word(one) for one in self._running.values()]
        return min([looked + _HEARTBEAT, *(m for m in moments if m is not None)])

    def _next_word(self, one: Running) -> datetime | None:
        """When an attempt is to be told to end, or to be killed; what was killed is looked at again soon."""
        limit, since = one.schedule.timeout, one.slot.started
        if one.told is not None:
            return max(one.told[0] + _GRACE, self._now() + timedelta(seconds=1))
        return since + limit if limit is not None and since is not None else None

    def _beat(self, *, stopped: bool = False) -> None:
        now = self._now()
        with self._table.change() as t:
            t.put_beat(Beat(os.getpid(), socket.gethostname(), self._since, now, now if stopped else None))


def _with_reason(result: Result, told: tuple[datetime, str] | None, ending: bool) -> Result:
    """The result of an attempt that was told to end: of a timeout a failure, of the scheduler's end none at all."""
    if told is None or result.kind != "failed":
        return result
    if told[1]:
        return replace(result, reason=told[1], may_pass=True)
    return (
        replace(result, kind="stopped", reason="the scheduler was stopped; it goes on with the next one")
        if ending
        else result
    )


@contextmanager
def _alone(folder: Path) -> Iterator[IO[str] | None]:
    """The lock that one scheduler holds while it lives; None where another one has it."""
    with (folder / "scheduler.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield lock


@contextmanager
def _signals(end: Callable[[], None]) -> Iterator[None]:
    """Within, SIGTERM and Ctrl-C call `end`."""
    before = {n: signal.signal(n, lambda _number, _frame: end()) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(line: str) -> None:
    complain(f"{clock():%Y-%m-%dT%H:%M:%SZ} {line}")
