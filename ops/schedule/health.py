"""What would keep schedules from doing what they promise, for `assay doctor`. Looks only."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ops.schedule.schedule import Schedule
from ops.schedule.table import Table
from steps.contracts.errors import AssayError


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
    found = [one for schedule in schedules for one in _of(root, schedule, environment)]
    if schedules and not served:
        found.append(Trouble("no scheduler serves them", "assay scheduler; assay schedule export keeps one running"))
    return len(schedules), found


def _of(root: Path, schedule: Schedule, environment: Mapping[str, str]) -> Iterator[Trouble]:
    name = schedule.name
    if not (root / schedule.config).is_file():
        yield Trouble(f"{name}: its config {schedule.config} is gone", f"assay schedule edit {name} --config FILE")
    for channel in schedule.alerts:
        variable = channel.variable
        if variable and not environment.get(variable):
            what = f"{name}: {variable}, which {channel.label} needs, isn't set here"
            yield Trouble(what, f"export {variable}=... where the scheduler starts")
