"""What became of the slots of a schedule that a service fires: read off the runs that say they stand for one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice

from ops.schedule.policy import deadline
from ops.schedule.schedule import Schedule
from ops.schedule.slots import Slot, State
from ops.schedule.table import Changing, Entry, Table
from steps.contracts.runs import RunRecord

# Chosen: a service starts a container, or a machine, before a run is known; so long is a slot waited for beyond its
# lateness.
_STARTING = timedelta(minutes=30)
# Chosen: of a schedule that nobody looked at for long, so many slots get their lines at a time.
_MOST = 5_000


def observe(table: Table, runs: Sequence[RunRecord], now: datetime) -> list[Slot]:
    """Give the slots of native schedules their lines, from the runs that are known; returns those that changed."""
    with table.change() as t:
        return [slot for entry in t.entries() if entry.schedule.is_native for slot in settled(t, entry, runs, now)]


def settled(t: Changing, entry: Entry, runs: Sequence[RunRecord], now: datetime) -> list[Slot]:
    """The same for one schedule, within a transaction."""
    name, seen = entry.schedule.name, _by_slot(entry.schedule, runs)
    times = entry.schedule.times
    came = list(islice(times.between(entry.accounted, now), _MOST)) if times is not None else []
    opened = {s.at: s for s in t.opened(name)}
    # A run may come to be known after its slot was given up, or be of a slot that no clock brought.
    known = {s.at: s for s in t.slots(name) if s.at in seen}
    new = []
    for at in sorted({*came, *opened, *seen}):
        old = opened.get(at) or known.get(at)
        slot = _line(entry, at, old, seen.get(at), now, at in came)
        if slot is not None and slot != old:
            new.append(slot)
    t.put_slots(new)
    t.put_entry(replace(entry, accounted=came[-1] if len(came) == _MOST else max(now, entry.accounted)))
    return new


def _by_slot(schedule: Schedule, runs: Iterable[RunRecord]) -> Mapping[datetime, Sequence[RunRecord]]:
    """The schedule's runs by the slot that they stand for, oldest first."""
    found: dict[datetime, list[RunRecord]] = {}
    for run in sorted(runs, key=lambda r: r.started):
        if run.schedule == schedule.name and run.slot:
            found.setdefault(datetime.fromisoformat(run.slot), []).append(run)
    return found


def _line(
    entry: Entry, at: datetime, old: Slot | None, runs: Sequence[RunRecord] | None, now: datetime, by_clock: bool
) -> Slot | None:
    """A slot as it is known now; None: it stays (backfills are assay's scheduler's to run)."""
    if old is not None and (old.origin == "backfill" or (runs and old.run == runs[-1].name and not old.is_open)):
        return None
    slot = old or Slot(entry.schedule.name, at, "queued", "cron" if by_clock else "manual", entry.version)
    if runs:
        return _of_run(slot, runs)
    if entry.paused is not None:
        return replace(slot, state="paused", reason="the schedule was paused", ended=now)
    until = deadline(entry.schedule, at) + _STARTING
    if now < until:
        return replace(slot, reason=f"due; no run of it is known yet, {entry.schedule.on} may be starting it")
    return replace(slot, state="missed", reason=_unseen(entry.schedule), ended=now)


def _unseen(schedule: Schedule) -> str:
    return f"no run of it came to be known: {schedule.on} skipped it, or couldn't start it"


def _of_run(slot: Slot, runs: Sequence[RunRecord]) -> Slot:
    last = runs[-1]
    ended = datetime.fromisoformat(last.ended) if last.ended else None
    state: State = "running" if ended is None else "ran" if last.status == "completed" else "failed"
    registration = last.registration
    gate = None if registration is None else "rejected" if registration.status == "rejected" else "promoted"
    gate = gate if last.monitored is None else last.monitored.verdict
    return replace(
        slot, state=state, reason=_first_line(last.error or ""), attempts=len(runs), failures=_failed(runs),
        run=last.name, gate=gate, started=datetime.fromisoformat(last.started), ended=ended,
    )  # fmt: skip


def _failed(runs: Iterable[RunRecord]) -> int:
    return sum(r.ended is not None and r.status != "completed" for r in runs)


def _first_line(text: str) -> str:
    return next(iter(text.splitlines()), "")[:500]
