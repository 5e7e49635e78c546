"""What the commands of `assay schedule` do and say."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ops.console import complain, emit, say, show_table
from ops.infra import load_infra
from ops.schedule import moves
from ops.schedule.alerts import deliver, keep_due
from ops.schedule.bell import ring
from ops.schedule.cron import cron_of, in_zone, zone_of
from ops.schedule.schedule import Schedule, channel_of, span_of
from ops.schedule.slots import Slot
from ops.schedule.table import Entry, Version, open_table, schedules_folder
from ops.stacks.files import stack_file
from pipelines.config import RunConfig
from pipelines.load import read, validate
from pipelines.slots import with_slot
from steps.contracts.errors import ConfigError, InputNotFoundError
from steps.contracts.humanize import duration

# Chosen: so many slots to come are shown, and so many of the past.
_NEXT, _LAST = 5, 10
_SPANS = ("max_lateness", "fresh_within", "timeout", "backoff")
_COLUMNS = ("slot", "outcome", "why", "tries", "started", "took", "run")


def add_schedule(root: Path, name: str, config: Path, given: dict[str, Any], json_output: bool) -> None:
    """Check a schedule and keep it.

    Raises:
        ConfigError: the cron, the zone, the config, or any option isn't right, or the name is taken.
    """
    schedule = _schedule({**_values(root, given), "name": name, "config": _kept_path(root, config)})
    _check_runs(root, schedule)
    moves.add(open_table(root), schedule, _now())
    _changed(root)
    if json_output:
        emit(_as_json(schedule))
        return
    say(f"added {name}: {_when(schedule)}")
    _say_next(schedule)
    _warn_alone(root)


def edit_schedule(root: Path, name: str, given: dict[str, Any], unset: list[str], json_output: bool) -> None:
    """Change a schedule.

    Raises:
        InputNotFoundError: there is none. ConfigError: it wouldn't be right any more.
    """
    table = open_table(root)
    with table.look() as t:
        old = t.entry(name).schedule
    changes = {**_defaults(unset), **_values(root, given)}
    if "config" in given:
        changes["config"] = _kept_path(root, given["config"])
    if not changes:
        raise ConfigError("nothing to change", where=f"schedule {name}", hint="give an option, or --unset OPTION")
    schedule = _schedule({**old.model_dump(), **changes})
    _check_runs(root, schedule)
    moves.edit(table, name, changes, _now())
    _changed(root)
    if json_output:
        emit(_as_json(schedule))
        return
    say(f"edited {name}: {_when(schedule)}")
    _say_next(schedule)


def pause_schedule(root: Path, name: str) -> None:
    """Pause a schedule."""
    news = moves.pause(open_table(root), name, _now())
    _changed(root)
    say(f"paused {name}: what runs goes on, nothing else starts" if news else f"{name} was paused already")


def resume_schedule(root: Path, name: str) -> None:
    """End its pause."""
    news = moves.resume(open_table(root), name, _now())
    _changed(root)
    say(f"resumed {name}" if news else f"{name} wasn't paused")
    with open_table(root).look() as t:
        _say_next(t.entry(name).schedule)


def remove_schedule(root: Path, name: str) -> None:
    """Remove a schedule, but not its history."""
    moves.remove(open_table(root), name, _now())
    _changed(root)
    say(f"removed {name}; its history stays: assay schedule history {name}")


def ask_now(root: Path, name: str, json_output: bool) -> None:
    """Ask for a slot of this moment."""
    slot = moves.run_now(open_table(root), name, _now())
    _changed(root)
    with open_table(root).look() as t:
        zone = t.entry(name).schedule.tz
    if json_output:
        emit(slot_as_json(slot, zone))
        return
    say(f"asked for the slot {in_zone(slot.at, zone)} of {name}")
    _warn_alone(root)


def backfill_schedule(
    root: Path, name: str, first: str, last: str, reprocess: moves.Reprocess, dry_run: bool, json_output: bool
) -> None:
    """Queue slots of the past; `dry_run`: only say which."""
    table = open_table(root)
    with table.look() as t:
        entry = t.entry(name)
        zone, now = entry.schedule.tz, _now()
        stretch = _moment(first, zone, end=False), min(_moment(last, zone, end=True), now)
        found = moves.to_backfill(t, entry, *stretch, reprocess, now)
    if not dry_run:
        found = moves.backfill(table, name, *stretch, reprocess, now)
        _changed(root)
    if json_output:
        emit({"schedule": name, "dry_run": dry_run, "slots": [in_zone(s.at, zone) for s in found]})
        return
    for slot in found:
        say(in_zone(slot.at, zone))
    end = "would run; nothing was queued (--dry-run)" if dry_run else "queued, one after the other"
    say(f"{len(found)} slots {end}")
    if not dry_run and found:
        _warn_alone(root)


def list_schedules(root: Path, json_output: bool) -> None:
    """All schedules, a line each."""
    with open_table(root).look() as t:
        entries = t.entries()
        last = {e.schedule.name: next((s for s in t.slots(e.schedule.name, limit=1)), None) for e in entries}
    if json_output:
        emit({"schedules": [entry_as_json(e, last[e.schedule.name]) for e in entries]})
    elif not entries:
        say("no schedules yet; add one with: assay schedule add NAME CONFIG --cron '30 2 * * *'")
    else:
        show_table(
            ("schedule", "config", "when", "next", "last slot", "outcome"),
            [_entry_line(e, last[e.schedule.name]) for e in entries],
        )
        _warn_alone(root)


def show_schedule(root: Path, name: str, json_output: bool) -> None:
    """One schedule, whole."""
    with open_table(root).look() as t:
        entry = t.entry(name)
        slots = t.slots(name, limit=_LAST)
    if json_output:
        coming = [in_zone(at, entry.schedule.tz) for at in _coming(entry)]
        last = [slot_as_json(s, entry.schedule.tz) for s in slots]
        emit({**entry_as_json(entry, slots[0] if slots else None), "next": coming, "slots": last})
        return
    for key, value in entry.schedule.model_dump(mode="json", exclude_defaults=True).items():
        say(f"{key}: {value if isinstance(value, str) else _plain(value)}")
    said = f"paused since {in_zone(entry.paused, entry.schedule.tz)}" if entry.paused else _when(entry.schedule)
    say(f"version {entry.version}; {said}")
    _say_next(entry.schedule, entry)
    late = [s.started - s.at for s in slots if s.started is not None and s.origin == "cron" and s.attempts == 1]
    if late:
        say(f"started after their time: {duration(max(late).total_seconds())} at most, of the last {len(late)}")
    _show_slots(slots, {name: entry.schedule.tz}, named=False)


def show_history(root: Path, name: str | None, limit: int, json_output: bool) -> None:
    """Slots, newest first, of one schedule or of all.

    Raises:
        InputNotFoundError: there never was such a schedule.
    """
    with open_table(root).look() as t:
        zones = {e.schedule.name: e.schedule.tz for e in t.entries(removed=True)}
        if name is not None and name not in zones:
            t.entry(name)
        slots = t.slots(name, limit=limit)
        attempts = {(s.schedule, s.at): t.attempts(s.schedule, s.at) for s in slots} if json_output else {}
    if json_output:
        shown = [
            {**slot_as_json(s, zones[s.schedule]), "tries": [asdict(a) for a in attempts[s.schedule, s.at]]}
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
                    {**asdict(v), "spec": Schedule.model_validate_json(v.spec).model_dump(mode="json")}
                    for v in versions
                ]
            }
        )
    else:
        show_table(("version", "since", "change"), [_version_line(v) for v in versions])


def check_from_outside(root: Path, json_output: bool) -> None:
    """Keep and send the alerts that are due, whether a scheduler lives or not; say what is due."""
    table = open_table(root)
    if not table.exists:
        say("no schedules yet")
        return
    found = keep_due(table, _now())
    failed = deliver(table, root, dict(os.environ), _now)
    with table.look() as t:
        served = t.is_served(_now())
    if json_output:
        alerts = [{"schedule": a.schedule, "kind": a.kind, "text": a.text, "run": a.run} for a in found]
        emit({"served": served, "alerts": alerts, "undelivered": failed})
        return
    for alert in found:
        say(f"{alert.schedule}: {alert.text}")
    for line in failed:
        complain(line)
    if not found:
        say("nothing new to tell")
    _warn_alone(root)


def _version_line(version: Version) -> tuple[object, ...]:
    return version.version, f"{version.since:%Y-%m-%d %H:%M}Z", version.change


def _show_slots(slots: Sequence[Slot], zones: dict[str, str], *, named: bool) -> None:
    lines = [_slot_line(s, zones[s.schedule], named) for s in slots]
    if lines:
        show_table((*(["schedule"] if named else []), *_COLUMNS), lines)


def _slot_line(slot: Slot, zone: str, named: bool) -> list[object]:
    started = in_zone(slot.started, zone)[:16].replace("T", " ") if slot.started else ""
    took = duration((slot.ended - slot.started).total_seconds()) if slot.started and slot.ended else ""
    outcome = f"{slot.state}, gate {slot.gate}" if slot.gate else slot.state
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


def entry_as_json(entry: Entry, last: Slot | None) -> dict[str, Any]:
    """A schedule for programs."""
    coming = next(iter(_coming(entry)), None)
    return {
        **_as_json(entry.schedule),
        "version": entry.version,
        "paused": entry.paused.isoformat() if entry.paused else None,
        "next": in_zone(coming, entry.schedule.tz) if coming else None,
        "last": slot_as_json(last, entry.schedule.tz) if last else None,
    }


def _as_json(schedule: Schedule) -> dict[str, Any]:
    return schedule.model_dump(mode="json")


def _entry_line(entry: Entry, last: Slot | None) -> tuple[object, ...]:
    schedule = entry.schedule
    coming = "paused" if entry.paused else next((in_zone(at, schedule.tz) for at in _coming(entry)), "")
    slot = (in_zone(last.at, schedule.tz), last.state) if last else ("", "")
    return schedule.name, schedule.config, _when(schedule), coming, *slot


def _coming(entry: Entry) -> list[datetime]:
    times = entry.schedule.times
    if times is None or entry.paused is not None:
        return []
    return list(islice(times.after(max(_now(), entry.accounted)), _NEXT))


def _when(schedule: Schedule) -> str:
    by_clock = f"{schedule.cron} ({schedule.tz})" if schedule.cron else ""
    on_change = f"when {', '.join(schedule.on_change)} changes" if schedule.on_change else ""
    return " and ".join(filter(None, (by_clock, on_change)))


def _say_next(schedule: Schedule, entry: Entry | None = None) -> None:
    times = schedule.times
    if times is not None and (entry is None or entry.paused is None):
        say("next: " + ", ".join(in_zone(at, schedule.tz) for at in islice(times.after(_now()), _NEXT)))


def _warn_alone(root: Path) -> None:
    """Say so where nobody serves the schedules."""
    with open_table(root).look() as t:
        if not t.is_served(_now()):
            complain("note: no scheduler serves this state folder; start one with: assay scheduler")


def _values(root: Path, given: dict[str, Any]) -> dict[str, Any]:
    """Options of the command line as values of a schedule."""
    values = {k: v for k, v in given.items() if k != "config"}
    for key in _SPANS:
        if key in values:
            try:
                values[key] = span_of(values[key])
            except ValueError as e:
                raise ConfigError(str(e), where=f"--{key.replace('_', '-')}") from e
    if "alerts" in values:
        values["alerts"] = [channel_of(text) for text in values["alerts"]]
    return values


def _defaults(unset: list[str]) -> dict[str, Any]:
    known = {n: f for n, f in Schedule.model_fields.items() if not f.is_required()}
    names = [text.lstrip("-").replace("-", "_") for text in unset]
    names = [{"alert": "alerts", "set": "overrides"}.get(name, name) for name in names]
    if wrong := [n for n in names if n not in known]:
        raise ConfigError(f"no option {wrong[0]!r} to unset", where="--unset", hint=f"there are {', '.join(known)}")
    return {name: known[name].default for name in names}


def _schedule(values: dict[str, Any]) -> Schedule:
    if values.get("cron") is not None:
        cron_of(values["cron"], values.get("tz", "UTC"))
    elif "tz" in values:
        zone_of(values["tz"])
    try:
        return Schedule.model_validate(values)
    except ValidationError as e:
        told = "; ".join(f"{'.'.join(map(str, x['loc'])) or 'schedule'}: {x['msg']}" for x in e.errors())
        raise ConfigError(told, where=f"schedule {str(values.get('name'))[:80]}") from e


def _kept_path(root: Path, config: Path) -> str:
    """A config's path from the checkout, or from the root where it lies elsewhere."""
    path = config.resolve()
    if not path.is_file():
        raise InputNotFoundError("no such configuration file", where=str(config))
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _check_runs(root: Path, schedule: Schedule) -> None:
    """Refuse what could never run: a wrong config, a stack or an infra file that isn't there."""
    at = _now().astimezone(zone_of(schedule.tz))
    written, told = with_slot(read(root / schedule.config, schedule.overrides), at)
    if told:
        raise ConfigError(written.mistakes(told), where=written.where)
    validate(RunConfig, written)
    place = load_infra(root, schedule.infra or schedule.stack)
    stack_file(root, schedule.stack or place.stack)


def _moment(text: str, zone: str, *, end: bool) -> datetime:
    """A moment as the command line says it: a day is meant in the schedule's zone, and whole."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as e:
        hint = "a day, such as 2026-03-01, or a time with its offset"
        raise ConfigError(f"{text[:60]!r} is no time", where="--to" if end else "--from", hint=hint) from e
    if len(text) == len("2026-03-01") and end:
        moment += timedelta(days=1) - timedelta(seconds=1)
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone_of(zone))).astimezone(UTC)


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _changed(root: Path) -> None:
    ring(schedules_folder(root))


def _now() -> datetime:
    return datetime.now(UTC)
