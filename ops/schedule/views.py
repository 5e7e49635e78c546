"""How schedules and their slots are shown, to people and to programs."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from ops.console import complain, emit, say, show_table
from ops.schedule.moves import clock
from ops.schedule.native.desk import observe_native, state_of
from ops.schedule.schedule import Schedule
from ops.schedule.slots import Slot
from ops.schedule.table import Entry, Version, open_table
from pipelines.cron import in_zone
from steps.contracts.humanize import duration
from steps.contracts.monitoring import VERDICTS

# Chosen: so many slots to come are shown, and so many of the past.
_NEXT, _LAST = 5, 10
_COLUMNS = ("slot", "outcome", "why", "tries", "started", "took", "run")


def list_schedules(root: Path, json_output: bool) -> None:
    """All schedules, a line each; of those that services fire also whether they are there as they were made."""
    observe_native(root, open_table(root))
    with open_table(root).look() as t:
        entries = t.entries()
        last = {e.schedule.name: next((s for s in t.slots(e.schedule.name, limit=1)), None) for e in entries}
    native = {e.schedule.name: state_of(root, e.schedule) for e in entries if e.schedule.is_native}
    if json_output:
        known = {name: {"service": lines} for name, lines in native.items()}
        found = [{**entry_as_json(e, last[e.schedule.name]), **known.get(e.schedule.name, {})} for e in entries]
        emit({"schedules": found})
    elif not entries:
        say("no schedules yet; add one with: assay schedule add NAME CONFIG --cron '30 2 * * *'")
    else:
        show_table(
            ("schedule", "config", "when", "next", "last slot", "outcome"),
            [_entry_line(e, last[e.schedule.name]) for e in entries],
        )
        for name, lines in native.items():
            say(f"{name}: {'; '.join(lines)}")
        warn_alone(root)


def show_schedule(root: Path, name: str, json_output: bool) -> None:
    """One schedule, whole."""
    observe_native(root, open_table(root))
    with open_table(root).look() as t:
        entry = t.entry(name)
        slots = t.slots(name, limit=_LAST)
    if json_output:
        coming = [in_zone(at, entry.schedule.tz) for at in _coming(entry)]
        last = [slot_as_json(s, entry.schedule.tz) for s in slots]
        service = {"service": state_of(root, entry.schedule)} if entry.schedule.is_native else {}
        emit({**entry_as_json(entry, slots[0] if slots else None), "next": coming, "slots": last, **service})
        return
    for key, value in entry.schedule.model_dump(mode="json", exclude_defaults=True).items():
        say(f"{key}: {value if isinstance(value, str) else _plain(value)}")
    said = f"paused since {in_zone(entry.paused, entry.schedule.tz)}" if entry.paused else when(entry.schedule)
    say(f"version {entry.version}; {said}")
    for line in state_of(root, entry.schedule) if entry.schedule.is_native else ():
        say(line)
    say_next(entry.schedule, entry)
    late = [s.started - s.at for s in slots if s.started is not None and s.origin == "cron" and s.attempts == 1]
    if late:
        say(f"started after their time: {duration(max(late).total_seconds())} at most, of the last {len(late)}")
    _show_slots(slots, {name: entry.schedule.tz}, named=False)


def show_history(root: Path, name: str | None, limit: int, json_output: bool) -> None:
    """Slots, newest first, of one schedule or of all.

    Raises:
        InputNotFoundError: there never was such a schedule.
    """
    observe_native(root, open_table(root))
    with open_table(root).look() as t:
        zones = {e.schedule.name: e.schedule.tz for e in t.entries(removed=True)}
        if name is not None and name not in zones:
            t.entry(name)
        slots = t.slots(name, limit=limit)
        attempts = {(s.schedule, s.at): t.attempts(s.schedule, s.at) for s in slots} if json_output else {}
    if json_output:
        shown = [
            {**slot_as_json(s, zones[s.schedule]), "tries": [_iso(asdict(a)) for a in attempts[s.schedule, s.at]]}
            for s in slots
        ]
        emit({"slots": shown})
    elif not slots:
        say("no slot has come yet")
    else:
        _show_slots(slots, zones, named=name is None)


def show_versions(root: Path, name: str, json_output: bool) -> None:
    """What a schedule was, and since when."""
    with open_table(root).look() as t:
        versions = t.versions(name)
        if not versions:
            t.entry(name)
    if json_output:
        emit(
            {
                "versions": [
                    {**_iso(asdict(v)), "spec": Schedule.model_validate_json(v.spec).model_dump(mode="json")}
                    for v in versions
                ]
            }
        )
    else:
        show_table(("version", "since", "change"), [_version_line(v) for v in versions])


def _version_line(version: Version) -> tuple[object, ...]:
    return version.version, f"{version.since:%Y-%m-%d %H:%M}Z", version.change


def _show_slots(slots: Sequence[Slot], zones: dict[str, str], *, named: bool) -> None:
    lines = [_slot_line(s, zones[s.schedule], named) for s in slots]
    if lines:
        show_table((*(["schedule"] if named else []), *_COLUMNS), lines)


def _slot_line(slot: Slot, zone: str, named: bool) -> list[object]:
    started = in_zone(slot.started, zone)[:16].replace("T", " ") if slot.started else ""
    took = duration((slot.ended - slot.started).total_seconds()) if slot.started and slot.ended else ""
    what = "production" if slot.gate in VERDICTS else "gate"
    outcome = f"{slot.state}, {what} {slot.gate}" if slot.gate else slot.state
    line: list[object] = [
        in_zone(slot.at, zone),
        outcome,
        slot.reason,
        slot.attempts or "",
        started,
        took,
        slot.run or "",
    ]
    return [slot.schedule, *line] if named else line


def slot_as_json(slot: Slot, zone: str) -> dict[str, Any]:
    """A slot for programs; its time in the schedule's zone, others in UTC."""
    times = {name: getattr(slot, name) for name in ("not_before", "started", "ended")}
    return {
        **asdict(slot),
        "at": in_zone(slot.at, zone),
        **{name: value.isoformat() if value else None for name, value in times.items()},
    }


def _iso(values: dict[str, Any]) -> dict[str, Any]:
    """The same with its moments as ISO 8601 has them."""
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in values.items()}


def entry_as_json(entry: Entry, last: Slot | None) -> dict[str, Any]:
    """A schedule for programs."""
    coming = next(iter(_coming(entry)), None)
    return {
        **as_json(entry.schedule),
        "version": entry.version,
        "paused": entry.paused.isoformat() if entry.paused else None,
        "next": in_zone(coming, entry.schedule.tz) if coming else None,
        "last": slot_as_json(last, entry.schedule.tz) if last else None,
    }


def as_json(schedule: Schedule) -> dict[str, Any]:
    """A schedule's own values for programs."""
    return schedule.model_dump(mode="json")


def _entry_line(entry: Entry, last: Slot | None) -> tuple[object, ...]:
    schedule = entry.schedule
    coming = "paused" if entry.paused else next((in_zone(at, schedule.tz) for at in _coming(entry)), "")
    slot = (in_zone(last.at, schedule.tz), last.state) if last else ("", "")
    return schedule.name, schedule.config, when(schedule), coming, *slot


def _coming(entry: Entry) -> list[datetime]:
    times = entry.schedule.times
    if times is None or entry.paused is not None:
        return []
    return list(islice(times.after(max(clock(), entry.accounted)), _NEXT))


def when(schedule: Schedule) -> str:
    """What brings its slots."""
    by_clock = f"{schedule.cron} ({schedule.tz})" if schedule.cron else ""
    on_change = f"when {', '.join(schedule.on_change)} changes" if schedule.on_change else ""
    return " and ".join(filter(None, (by_clock, on_change)))


def say_next(schedule: Schedule, entry: Entry | None = None) -> None:
    """Say when it is next due, in its own zone; nothing in a pause."""
    times = schedule.times
    if times is not None and (entry is None or entry.paused is None):
        say("next: " + ", ".join(in_zone(at, schedule.tz) for at in islice(times.after(clock()), _NEXT)))


def warn_alone(root: Path) -> None:
    """Say so where nobody serves the schedules."""
    with open_table(root).look() as t:
        ours = [e for e in t.entries() if not e.schedule.is_native]
        if ours and not t.is_served(clock()):
            complain("note: no scheduler serves this state folder; start one with: assay scheduler")


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
