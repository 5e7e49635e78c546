"""What the commands of `assay schedule` do and say."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ops.console import complain, emit, say
from ops.infra import load_infra
from ops.schedule import moves
from ops.schedule.alerts import deliver, keep_due
from ops.schedule.bell import ring
from ops.schedule.moves import clock
from ops.schedule.native.desk import (
    check_same_place,
    fire_native,
    native_values,
    observe_native,
    pause_native,
    put_native,
    remove_native,
)
from ops.schedule.schedule import Schedule, channel_of, span_of
from ops.schedule.table import open_table, schedules_folder
from ops.schedule.views import as_json, say_next, slot_as_json, warn_alone, when
from ops.schedule.watch import MONITOR
from ops.stacks.files import stack_file
from pipelines.config import RunConfig
from pipelines.cron import cron_of, in_zone, zone_of
from pipelines.load import read, validate
from pipelines.slots import with_slot
from steps.contracts.errors import ConfigError, InputNotFoundError
from steps.zenml_runtime.urls import is_url

_SPANS = ("max_lateness", "fresh_within", "timeout", "backoff")


def add_schedule(root: Path, name: str, config: Path, given: dict[str, Any], json_output: bool) -> None:
    """Check a schedule and keep it.

    Raises:
        ConfigError: the cron, the zone, the config, or any option isn't right, or the name is taken.
    """
    values = native_values(root, {**_values(root, given), "name": name, "config": _kept_path(root, config)})
    schedule = _schedule(values)
    _check_runs(root, schedule)
    table = open_table(root)
    moves.check_new(table, name)
    if schedule.is_native:
        put_native(root, schedule, paused=False)
    moves.add(table, schedule, clock())
    _changed(root)
    if json_output:
        emit(as_json(schedule))
        return
    say(f"added {name}: {when(schedule)}")
    say_next(schedule)
    warn_alone(root)


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
    if not changes and not old.is_native:
        raise ConfigError("nothing to change", where=f"schedule {name}", hint="give an option, or --unset OPTION")
    schedule = _schedule({**old.model_dump(), **changes})
    check_same_place(old, schedule)
    _check_runs(root, schedule)
    observe_native(root, table)
    if schedule.is_native:
        with table.look() as t:
            paused = t.entry(name).paused is not None
        put_native(root, schedule, paused=paused)
    moves.edit(table, name, changes, clock())
    _changed(root)
    if json_output:
        emit(as_json(schedule))
        return
    say(f"edited {name}: {when(schedule)}")
    say_next(schedule)


def pause_schedule(root: Path, name: str) -> None:
    """Pause a schedule."""
    pause_native(root, name, paused=True)
    news = moves.pause(open_table(root), name, clock())
    _changed(root)
    say(f"paused {name}: what runs goes on, nothing else starts" if news else f"{name} was paused already")


def resume_schedule(root: Path, name: str) -> None:
    """End its pause."""
    pause_native(root, name, paused=False)
    news = moves.resume(open_table(root), name, clock())
    _changed(root)
    say(f"resumed {name}" if news else f"{name} wasn't paused")
    with open_table(root).look() as t:
        say_next(t.entry(name).schedule)


def remove_schedule(root: Path, name: str) -> None:
    """Remove a schedule, but not its history."""
    gone = remove_native(root, name)
    moves.remove(open_table(root), name, clock())
    _changed(root)
    if gone:
        say(gone)
    say(f"removed {name}; its history stays: assay schedule history {name}")


def ask_now(root: Path, name: str, json_output: bool) -> None:
    """Ask for a slot of this moment."""
    if fired := fire_native(root, name):
        emit({"schedule": name, "started": fired}) if json_output else say(f"started {fired}")
        return
    slot = moves.run_now(open_table(root), name, clock())
    _changed(root)
    with open_table(root).look() as t:
        zone = t.entry(name).schedule.tz
    if json_output:
        emit(slot_as_json(slot, zone))
        return
    say(f"asked for the slot {in_zone(slot.at, zone)} of {name}")
    warn_alone(root)


def backfill_schedule(
    root: Path, name: str, first: str, last: str, reprocess: moves.Reprocess, dry_run: bool, json_output: bool
) -> None:
    """Queue slots of the past; `dry_run`: only say which."""
    table = open_table(root)
    with table.look() as t:
        entry = t.entry(name)
        zone, now = entry.schedule.tz, clock()
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
        warn_alone(root)


def check_from_outside(root: Path, json_output: bool) -> None:
    """Keep and send the alerts that are due, whether a scheduler lives or not; say what is due."""
    table = open_table(root)
    if not table.exists:
        say("no schedules yet")
        return
    observe_native(root, table)
    found = keep_due(table, clock())
    failed = deliver(table, root, dict(os.environ), clock)
    with table.look() as t:
        served = t.is_served(clock())
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
    warn_alone(root)


def _values(root: Path, given: dict[str, Any]) -> dict[str, Any]:
    """Options of the command line as values of a schedule."""
    values = {k: v for k, v in given.items() if k != "config"}
    for key in _SPANS:
        if key in values:
            try:
                values[key] = span_of(values[key])
            except ValueError as e:
                raise ConfigError(str(e), where=f"--{key.replace('_', '-')}") from e
    if "on_change" in values:
        values["on_change"] = [
            w if is_url(w) or w.startswith(MONITOR) else _below(root, Path(w).resolve()) for w in values["on_change"]
        ]
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
    path = config.resolve()
    if not path.is_file():
        raise InputNotFoundError("no such configuration file", where=str(config))
    return _below(root, path)


def _below(root: Path, path: Path) -> str:
    """A path from the checkout, or from the root where it lies elsewhere: it is named from any folder."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _check_runs(root: Path, schedule: Schedule) -> None:
    """Refuse what could never run: a wrong config, a stack or an infra file that isn't there."""
    at = clock().astimezone(zone_of(schedule.tz))
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


def _changed(root: Path) -> None:
    ring(schedules_folder(root))
