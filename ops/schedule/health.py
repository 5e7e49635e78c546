"""What would keep schedules from doing what they promise, for `assay doctor`. Looks only."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ops.infra import load_infra
from ops.schedule.schedule import Schedule
from ops.schedule.table import Table
from ops.stacks.files import stack_file
from pipelines.cron import zone_of
from steps.contracts.errors import AssayError

# Chosen: so much of a message fits into a line of doctor's.
_SAID_CHARS = 300


@dataclass(frozen=True)
class Trouble:
    """What is wrong, and the way out."""

    what: str
    way_out: str


def troubles(root: Path, table: Table, environment: Mapping[str, str], now: datetime) -> tuple[int, list[Trouble]]:
    """How many schedules there are, and what is wrong with them."""
    try:
        with table.look() as t:
            schedules = [e.schedule for e in t.entries()]
            served = t.is_served(now)
    except AssayError as e:
        return 0, [Trouble(f"{e.where or ''}: {e.what}", e.hint or "")]
    found = [one for schedule in schedules for one in _of(root, schedule, environment, now)]
    if any(not s.is_native for s in schedules) and not served:
        found.append(Trouble("no scheduler serves them", "assay scheduler; assay schedule export keeps one running"))
    return len(schedules), found


def _stopped(root: Path, schedule: Schedule, now: datetime) -> str:
    """What would stop a run of this moment: a variable that isn't set, a file that isn't there; "" for nothing."""
    from ops.preflight import checked

    try:
        where = schedule.stack or load_infra(root, schedule.infra).stack
        at = now.astimezone(zone_of(schedule.tz))
        checked(root, root / schedule.config, schedule.overrides, stack_file(root, where), at)
    except AssayError as e:
        return " ".join(e.what.split())[:_SAID_CHARS]
    return ""


def _of(root: Path, schedule: Schedule, environment: Mapping[str, str], now: datetime) -> Iterator[Trouble]:
    name = schedule.name
    if not (root / schedule.config).is_file():
        yield Trouble(f"{name}: its config {schedule.config} is gone", f"assay schedule edit {name} --config FILE")
    elif why := _stopped(root, schedule, now):
        yield Trouble(f"{name}: a slot would fail now: {why}", f"assay validate {schedule.config} --slot now")
    for channel in schedule.alerts:
        variable = channel.variable
        if variable and not environment.get(variable):
            what = f"{name}: {variable}, which {channel.label} needs, isn't set here"
            yield Trouble(what, f"export {variable}=... where the scheduler starts")
