"""What the commands of `assay schedule` do where a service fires a schedule. The service comes first, the table after:
what fails there changes nothing here, and what was made there is found and taken over by the next try.
"""

from pathlib import Path
from typing import Any

from ops.console import complain
from ops.schedule.moves import clock
from ops.schedule.native.observed import observe
from ops.schedule.native.registry import OWN_STACK, check_native, drift, forget_made, keep_made, made_of, service_of
from ops.schedule.schedule import SCHEDULER, Schedule
from ops.schedule.table import Entry, Table, open_table
from steps.contracts.errors import AssayError, ConfigError


def native_values(root: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Values of a new schedule: `service` stands for the stack of its runs, and policies that aren't said are those
    that its service has.
    """
    on = values.get("on", SCHEDULER)
    if on == SCHEDULER:
        return values
    if on == OWN_STACK:
        from ops.infra import load_infra

        on = values.get("stack") or load_infra(root, values.get("infra")).stack
    keeps = service_of(root, on).keeps
    return {"catchup": keeps.catchup[0], "overlap": keeps.overlap[0], **values, "on": on}


def check_same_place(old: Schedule, new: Schedule) -> None:
    """Refuse an edit that moves a schedule from one clock to another.

    Raises:
        ConfigError: it would.
    """
    if old.on != new.on:
        hint = f"assay schedule remove {old.name}, then add it anew with --on {new.on}; its history stays"
        raise ConfigError("a schedule stays on its clock", where="--on", hint=hint)


def put_native(root: Path, schedule: Schedule, *, paused: bool) -> None:
    """Make the schedule on its service, or bring the one that is there to what it now is.

    Raises:
        ConfigError: the service can't keep it. ServiceError: it refused it, or doesn't answer.
    """
    service = service_of(root, schedule.on)
    check_native(schedule, service, clock())
    keep_made(root, schedule.name, service.put(service.wanted(schedule, paused)))


def pause_native(root: Path, name: str, *, paused: bool) -> None:
    """Tell its service to pause a schedule, or to go on; nothing for one of assay's own scheduler."""
    table = open_table(root)
    entry = _entry(table, name)
    if entry.schedule.is_native:
        observe_native(root, table)
        put_native(root, entry.schedule, paused=paused)


def remove_native(root: Path, name: str) -> str:
    """Take a schedule off its service; returns what is to be said where it was gone there already."""
    table = open_table(root)
    schedule = _entry(table, name).schedule
    if not schedule.is_native:
        return ""
    observe_native(root, table)
    made = made_of(root, name)
    there = made is not None and service_of(root, schedule.on).remove(made)
    forget_made(root, name)
    return "" if there else f"{schedule.on} had no such schedule any more"


def fire_native(root: Path, name: str) -> str:
    """Have its service start a slot of this moment; returns what it started, "" for one of assay's own scheduler."""
    schedule = _entry(open_table(root), name).schedule
    if not schedule.is_native:
        return ""
    made = made_of(root, name)
    if made is None:
        hint = f"assay schedule edit {name} makes it"
        raise ConfigError("nothing was made of this schedule on its service yet", where=name, hint=hint)
    return service_of(root, schedule.on).fire(made, clock())


def observe_native(root: Path, table: Table) -> None:
    """Give slots that services fired their lines, where there are such schedules."""
    if table.exists and any(e.schedule.is_native for e in _entries(table)):
        from ops.run_index import known_runs
        from ops.sync import sync

        try:
            sync(root)
        except AssayError as e:
            complain(f"note: no new runs could be looked for: {e.what}; slots are told from those that are known")
        observe(table, known_runs(root), clock())


def _entry(table: Table, name: str) -> Entry:
    with table.look() as t:
        return t.entry(name)


def _entries(table: Table) -> list[Entry]:
    with table.look() as t:
        return t.entries()


def state_of(root: Path, schedule: Schedule) -> list[str]:
    """What is to be said of a native schedule: what fires it, and what isn't as it was made."""
    try:
        service = service_of(root, schedule.on)
        found = drift(root, schedule, service)
    except AssayError as e:
        return [f"{schedule.on} can't be asked: {e.what}"]
    return [f"fired by {service.label}", *(f"drift: {line}" for line in found)]
