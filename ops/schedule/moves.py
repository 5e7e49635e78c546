"""All that changes the table of schedules: each move is one transaction, so that a kill between two loses nothing.

Every move first accounts for the time that has passed under the policy that held meanwhile: an edit, a pause or a
removal never reaches back.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeAlias

from ops.schedule.outbox import drop_unsent
from ops.schedule.policy import Over, after, came, given_up, in_pause, startable
from ops.schedule.schedule import Schedule
from ops.schedule.slots import Result, Slot
from ops.schedule.table import Changing, Entry, Looking, Table, Watched
from pipelines.cron import in_zone
from steps.contracts.errors import ConfigError, InputError

Reprocess: TypeAlias = Literal["none", "failed", "completed"]
# How slots end that never had a run.
_NEVER_RAN = ("missed", "skipped", "paused")
# Chosen: what is written for longer than that without another look is written to its end. A little less than a minute,
# since looks are a minute apart.
_STILL = timedelta(seconds=50)
# Chosen: more is a mistake in the dates.
_MOST_BACKFILLED = 10_000


def add(table: Table, schedule: Schedule, now: datetime) -> None:
    """Keep a new schedule; its first slot is the next one.

    Raises:
        ConfigError: there is one of that name.
    """
    with table.change() as t:
        old = _free_name(t, schedule.name)
        version, since = (old.version + 1, max(now, old.accounted)) if old is not None else (1, now)
        t.put_schedule(Entry(schedule, version, since, None, None), "added", now)


def check_new(table: Table, name: str) -> None:
    """Refuse a name that is taken, before anything is made elsewhere.

    Raises:
        ConfigError: there is one of that name.
    """
    with table.look() as t:
        _free_name(t, name)


def _free_name(t: Looking, name: str) -> Entry | None:
    """The schedule of that name that was removed; None: there never was one."""
    old = {e.schedule.name: e for e in t.entries(removed=True)}.get(name)
    if old is not None and old.removed is None:
        hint = f"assay schedule edit {name} changes it, remove ends it"
        raise ConfigError(f"there is a schedule {name} already", where="schedule", hint=hint)
    return old


def edit(table: Table, name: str, changes: dict[str, Any], now: datetime) -> Schedule:
    """Change a schedule from now on: what came before is accounted for as it was meant before.

    Raises:
        InputNotFoundError: there is none. pydantic.ValidationError: it wouldn't be one any more.
    """
    with table.change() as t:
        entry = _settled(t, t.entry(name), now)
        schedule = Schedule.model_validate({**entry.schedule.model_dump(), **changes})
        said = ", ".join(f"{key}: {value}" for key, value in schedule.model_dump(mode="json").items() if key in changes)
        t.put_schedule(replace(entry, schedule=schedule, version=entry.version + 1), f"edited {said}", now)
        t.keep_watched(name, schedule.on_change)
        drop_unsent(t, name, schedule.alerts)
        return schedule


def pause(table: Table, name: str, now: datetime) -> bool:
    """Start nothing any more by itself; slots that come, and those that wait, are paused ones. False: it was so."""
    with table.change() as t:
        entry = _settled(t, t.entry(name), now)
        if entry.paused is not None:
            return False
        _end_waiting(t, [s for s in t.opened(name) if s.in_line and s.origin != "manual"], "paused")
        t.put_schedule(replace(entry, version=entry.version + 1, paused=now), "paused", now)
        return True


def resume(table: Table, name: str, now: datetime) -> bool:
    """Go on with the next slot; none of the pause is made up for. False: it wasn't paused."""
    with table.change() as t:
        entry = _settled(t, t.entry(name), now)
        if entry.paused is None:
            return False
        t.put_schedule(replace(entry, version=entry.version + 1, paused=None), "resumed", now)
        return True


def remove(table: Table, name: str, now: datetime) -> None:
    """End a schedule; what runs goes on to its end, and the history stays."""
    with table.change() as t:
        entry = _settled(t, t.entry(name), now)
        _end_waiting(t, t.opened(name), "removed")
        t.put_schedule(replace(entry, version=entry.version + 1, paused=None, removed=now), "removed", now)


def run_now(table: Table, name: str, now: datetime) -> Slot:
    """A slot of this moment, that starts as soon as no other of its schedule runs; also while it is paused."""
    with table.change() as t:
        entry = _settled(t, t.entry(name), now)
        slot = Slot(name, _free(t, name, now), "queued", "manual", entry.version, "asked for by run-now")
        t.put_slots([slot])
        return slot


def to_backfill(
    looking: Looking, entry: Entry, first: datetime, last: datetime, reprocess: Reprocess, now: datetime
) -> list[Slot]:
    """The slots of a stretch of the past that a backfill would run, oldest first, as they would be queued.

    Raises:
        ConfigError: the schedule isn't by the clock. InputError: the stretch isn't past, or holds too many.
    """
    schedule = entry.schedule
    if schedule.times is None:
        raise ConfigError("it has no times to fill in: it comes by on_change alone", where=schedule.name)
    if first > last or last > now:
        raise InputError("a backfill goes from an earlier moment to a later one, and none is in the future")
    known = {s.at: s for s in looking.slots(schedule.name)}
    wanted = {"none": _NEVER_RAN, "failed": (*_NEVER_RAN, "failed"), "completed": (*_NEVER_RAN, "failed", "ran")}[
        reprocess
    ]
    found = []
    for at in schedule.times.between(first - timedelta(seconds=1), last):
        slot = known.get(at, Slot(schedule.name, at, "missed", "cron", entry.version))
        if slot.state in wanted:
            found.append(replace(
                slot, state="queued", origin="backfill", version=entry.version, reason="backfill", failures=0,
                not_before=None,
            ))  # fmt: skip
        if len(found) > _MOST_BACKFILLED:
            raise InputError(
                f"more than {_MOST_BACKFILLED:,} slots", where=schedule.name, hint="take a shorter stretch"
            )
    return found


def backfill(
    table: Table, name: str, first: datetime, last: datetime, reprocess: Reprocess, now: datetime
) -> list[Slot]:
    """Queue slots of the past; they run one after the other beside what the clock brings. As `to_backfill`."""
    with table.change() as t:
        entry = _settled(t, t.entry(name), now)
        found = to_backfill(t, entry, first, last, reprocess, now)
        t.put_slots(found)
        return found


def changed(table: Table, name: str, marks: dict[str, str], now: datetime) -> Slot | None:
    """A slot of this moment, since what the schedule watches has changed and looked the same for a minute. None where
    it hasn't, or in a pause; and while another slot is open, which may have seen the change or not: then it is looked
    at again.
    """
    with table.change() as t:
        entry = _settled(t, t.entry(name), now)
        known = t.watched(name)
        for watched, mark in marks.items():
            last = known.get(watched, Watched(mark, mark, now))
            known[watched] = last if last.seen == mark else replace(last, seen=mark, since=now)
        new = [w for w in marks if known[w].mark != known[w].seen and now >= known[w].since + _STILL]
        if any(s.in_line for s in t.opened(name)):
            new = []
        for watched in marks:
            state = known[watched]
            t.put_watched(name, watched, replace(state, mark=state.seen) if watched in new else state)
        if not new or entry.paused is not None:
            return None
        slot = Slot(name, _free(t, name, now), "queued", "change", entry.version, f"changed: {', '.join(new)[:300]}")
        t.put_slots([slot])
        return slot


def _free(t: Looking, name: str, now: datetime) -> datetime:
    """This moment, or the first second after it that has no slot yet."""
    at = now.replace(microsecond=0)
    while t.slot(name, at) is not None:
        at += timedelta(seconds=1)
    return at


def account(table: Table, now: datetime) -> list[Slot]:
    """Give every slot up to now its line, of all schedules; returns those that changed."""
    found: list[Slot] = []
    with table.look() as looking:
        names = [e.schedule.name for e in looking.entries()]
    for name in names:
        with table.change() as t:
            entry = next((e for e in t.entries() if e.schedule.name == name), None)
            if entry is not None:
                found += _settled_with(t, entry, now)[1]
    return found


def _settled(t: Changing, entry: Entry, now: datetime) -> Entry:
    """The schedule, all its slots up to now accounted for."""
    return _settled_with(t, entry, now)[0]


def _settled_with(t: Changing, entry: Entry, now: datetime) -> tuple[Entry, list[Slot]]:
    name = entry.schedule.name
    if entry.schedule.is_native:
        # A service's clock brings its slots; native/observed.py gives them their lines.
        return entry, []
    if now < entry.accounted:
        # The clock was set back: what was only decided is decided again in its time, what was started stays.
        first = t.withdraw(name, now)
        entry = replace(entry, accounted=min(now, first - timedelta(seconds=1)) if first is not None else now)
    if entry.paused is not None:
        decided = in_pause(entry.schedule, entry.accounted, now)
    else:
        decided = came(entry.schedule, entry.accounted, now, t.opened(name))
    new = []
    for one in decided:
        known = t.slot(name, one.at)
        if known is None or known.waits_unstarted:
            slot = known or Slot(name, one.at, one.state, one.origin, entry.version)
            ended = None if one.state == "queued" else now
            new.append(replace(slot, state=one.state, origin=one.origin, reason=one.reason, ended=ended))
    t.put_slots(new)
    settled = replace(entry, accounted=now)
    t.put_entry(settled)
    return settled, new


def _end_waiting(t: Changing, opened: Sequence[Slot], why: Over) -> None:
    """End those of these slots that don't run yet, since their schedule was paused or removed."""
    t.put_slots([given_up(s, why) for s in opened if s.state == "queued"])


def claim(table: Table, now: datetime, at_once: int) -> tuple[Schedule, Slot] | None:
    """Take the slot that starts next, if one may: from here on it is running, and nobody else takes it."""
    with table.change() as t:
        opened = t.opened()
        if sum(s.state == "running" for s in opened) >= at_once:
            return None
        for entry in sorted(t.entries(), key=lambda e: _oldest(opened, e.schedule.name)):
            mine = [s for s in opened if s.schedule == entry.schedule.name and _is_ours(entry, s)]
            slot = startable(mine, now, entry.paused is not None)
            if slot is not None:
                taken = replace(
                    slot, state="running", attempts=slot.attempts + 1, started=now, ended=None, not_before=None
                )
                t.put_slots([taken])
                t.begin_attempt(taken, now)
                return entry.schedule, taken
        return None


def _is_ours(entry: Entry, slot: Slot) -> bool:
    """Whether assay's scheduler is to run it: of schedules that a service fires, backfills only."""
    return not entry.schedule.is_native or slot.origin == "backfill"


def _oldest(opened: Sequence[Slot], name: str) -> str:
    """Where several schedules have something to start, the one that has waited longest is first."""
    return (
        min((f"{s.at:%Y%m%d%H%M%S}" for s in opened if s.schedule == name and s.state == "queued"), default="9") + name
    )


def conclude(table: Table, slot: Slot, result: Result, now: datetime) -> Slot | None:
    """Note what came of a running slot's attempt; None where somebody has noted it before."""
    with table.change() as t:
        known = t.slot(slot.schedule, slot.at)
        if known is None or known.state != "running" or known.attempts != slot.attempts:
            return None
        entry = next(e for e in t.entries(removed=True) if e.schedule.name == slot.schedule)
        paused = entry.paused is not None and known.origin != "manual" and known.in_line
        over: Over | None = "removed" if entry.removed is not None else "paused" if paused else None
        done = after(entry.schedule, known, result, now, over)
        t.put_slots([done])
        if result.kind == "never":
            t.drop_attempt(known)
        else:
            t.end_attempt(known, result.kind, result.reason, result.run, now)
        return done


def clock() -> datetime:
    """This moment."""
    return datetime.now(UTC)


def describe(slot: Slot, zone: str) -> str:
    """A slot for a line of the log."""
    why = f", {slot.reason}" if slot.reason and slot.state != "running" else ""
    return f"{slot.schedule} {in_zone(slot.at, zone)}: {slot.state}{why}"
