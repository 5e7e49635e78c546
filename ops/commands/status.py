"""`assay status`: what there is to know at a glance, of schedules and of all runs."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from ops.console import emit, heading, say, show_table
from ops.run_index import known_runs, run_config
from ops.schedule.alerts import freshness
from ops.schedule.outbox import undelivered
from ops.schedule.schedule import span_text
from ops.schedule.slots import Slot
from ops.schedule.table import Beat, Entry, Looking, open_table
from ops.schedule.views import entry_as_json
from pipelines.cron import in_zone
from steps.contracts.errors import AssayError
from steps.contracts.humanize import duration
from steps.contracts.runs import RunRecord


@dataclass(frozen=True)
class Fresh:
    """The newest of a config's datasets, or of a registered model's versions.

    Attributes:
        age: seconds since its run ended.
    """

    kind: str
    name: str
    what: str
    run: str
    age: float


@dataclass(frozen=True)
class Todo:
    """Something that waits for a person; `command`: what to type."""

    what: str
    command: str


@dataclass(frozen=True)
class ScheduleState:
    """A schedule, its last slot, the last one that should have had a run, and how old its newest result is."""

    entry: Entry
    last: Slot | None
    wanted: Slot | None
    fresh: datetime
    has_result: bool

    def is_stale(self, now: datetime) -> bool:
        """Whether its newest result is older than it may be."""
        within = self.entry.schedule.fresh_within
        return within is not None and self.entry.paused is None and now - self.fresh > within


def show_status(root: Path, json_output: bool) -> None:
    """Print it."""
    now = datetime.now(UTC)
    runs = known_runs(root)
    with open_table(root).look() as t:
        states = [_state(t, entry) for entry in t.entries()]
        running = t.slots(states=("running",))
        beat, served = t.beat(), t.is_served(now)
        todo = [*_of_schedules(states, served, now), *_of_alerts(t)]
    on_their_way = [r for r in runs if r.ended is None]
    fresh = list(_fresh(runs, now))
    todo += [*_of_runs(runs), *_set_aside(root, runs)]
    if json_output:
        emit({
            "scheduler": {"serves": served, "seen": beat.seen.isoformat() if beat else None},
            "schedules": [{**entry_as_json(s.entry, s.last), "stale": s.is_stale(now)} for s in states],
            "running": [r.model_dump(include={"name", "started", "slot", "schedule"}) for r in on_their_way],
            "fresh": [asdict(f) for f in fresh],
            "needs_a_person": [asdict(t) for t in todo],
        })  # fmt: skip
        return
    _say_schedules(states, beat, served, now)
    _say_running(on_their_way, running, now)
    _say_fresh(fresh)
    heading("needs a person")
    for one in todo:
        say(f"  {one.what}: {one.command}")
    if not todo:
        say("  nothing")


def _state(t: Looking, entry: Entry) -> ScheduleState:
    at, fresh = freshness(t, entry)
    name = entry.schedule.name
    last, wanted = t.slots(name, limit=1), t.slots(name, states=("ran", "failed", "missed"), limit=1)
    return ScheduleState(entry, next(iter(last), None), next(iter(wanted), None), fresh, at is not None)


def _say_schedules(states: Sequence[ScheduleState], beat: Beat | None, served: bool, now: datetime) -> None:
    heading("schedules")
    if not states:
        say("  none")
        return
    seen = f"{duration((now - beat.seen).total_seconds())} ago" if beat else ""
    if all(s.entry.schedule.is_native for s in states):
        say("  fired by their services; assay schedule list looks what these say")
    elif served and beat:
        say(f"  served by process {beat.pid} on {beat.host}, which last looked {seen}")
    else:
        say(f"  no scheduler serves them{f', the last one looked {seen}' if seen else ''}")
    show_table(
        ("schedule", "next", "last slot", "outcome", "newest result", "no older than"), [_line(s, now) for s in states]
    )


def _line(state: ScheduleState, now: datetime) -> tuple[object, ...]:
    schedule, last = state.entry.schedule, state.last
    times = schedule.times
    coming = in_zone(times.next(max(now, state.entry.accounted)), schedule.tz) if times is not None else "on change"
    age = f"{duration((now - state.fresh).total_seconds())} old" if state.has_result else "none"
    within = span_text(schedule.fresh_within) if schedule.fresh_within is not None else ""
    slot = (in_zone(last.at, schedule.tz), last.state) if last else ("", "")
    return (
        schedule.name,
        "paused" if state.entry.paused else coming,
        *slot,
        f"{age}{', stale' if state.is_stale(now) else ''}",
        within,
    )


def _say_running(runs: Sequence[RunRecord], slots: Sequence[Slot], now: datetime) -> None:
    heading("running")
    for run in runs:
        since = duration((now - datetime.fromisoformat(run.started)).total_seconds())
        say(f"  {run.name} for {since}{f', slot {run.slot} of {run.schedule}' if run.slot else ''}")
    waiting = [s for s in slots if s.schedule not in {r.schedule for r in runs}]
    for slot in waiting:
        say(f"  {slot.schedule}: the slot {in_zone(slot.at, 'UTC')} is starting")
    if not runs and not waiting:
        say("  nothing")


def _say_fresh(fresh: Sequence[Fresh]) -> None:
    heading("newest results")
    lines = [(f.kind, f.name, f.what, f"{duration(f.age)} old", f.run) for f in fresh]
    if lines:
        show_table(("", "name", "what", "age", "run"), lines)
    else:
        say("  none")


def _fresh(runs: Sequence[RunRecord], now: datetime) -> Iterator[Fresh]:
    """Newest first: of every config the last dataset of a completed run, of every model its last version."""
    seen: set[tuple[str, str]] = set()
    for run in (r for r in runs if r.status == "completed" and r.ended is not None):
        age = (now - datetime.fromisoformat(run.ended or run.started)).total_seconds()
        made = [a for a in run.of_type("dataset") if a.name == "curated"]
        if made and ("dataset", run.config_name) not in seen:
            seen.add(("dataset", run.config_name))
            yield Fresh("dataset", run.config_name, (made[-1].digest or "")[:16], run.name, age)
        model = run.registration
        if model is not None and ("model", model.name) not in seen:
            seen.add(("model", model.name))
            yield Fresh("model", model.name, f"version {model.version}, {model.status}", run.name, age)


def _of_schedules(states: Sequence[ScheduleState], served: bool, now: datetime) -> Iterator[Todo]:
    ours = [s for s in states if not s.entry.schedule.is_native]
    if not served and any(s.entry.paused is None for s in ours):
        yield Todo("no scheduler serves the schedules", "assay scheduler")
    for state in states:
        name, last = state.entry.schedule.name, state.wanted
        if last is not None and last.state == "failed":
            yield Todo(f"the last slot of {name} failed, {last.reason}", f"assay schedule history {name}")
        if last is not None and last.state == "missed":
            yield Todo(f"the last slot of {name} was missed", f"assay schedule history {name}")
        if state.is_stale(now):
            yield Todo(f"the newest result of {name} is too old", f"assay schedule run-now {name}")


def _of_alerts(t: Looking) -> Iterator[Todo]:
    for schedule, channel, error in undelivered(t):
        yield Todo(f"an alert of {schedule} doesn't get to {channel}, {error}", f"assay schedule show {schedule}")


def _newest(runs: Iterable[RunRecord]) -> list[RunRecord]:
    """The first run of each config."""
    newest: dict[str, RunRecord] = {}
    for run in runs:
        newest.setdefault(run.config_name, run)
    return list(newest.values())


def _set_aside(root: Path, runs: Sequence[RunRecord]) -> Iterator[Todo]:
    """Rows that the newest completed run of each config set aside, and that nobody has decided about."""
    for run in _newest(r for r in runs if r.status == "completed"):
        if not any("quarantin" in a.name for a in run.of_type("dataset")):
            continue
        from ops.review.guard import Guard
        from ops.review.queue import ReviewQueue, decisions_path

        with suppress(AssayError):  # its files are gone, or out of reach: nothing can be decided there
            _, left = ReviewQueue(root, run, decisions_path(root, run), Guard(root, run_config(root, run))).counts()
            if left:
                count = left.total()
                what = f"{run.config_name} set {count:,} row{'s' if count > 1 else ''} aside"
                yield Todo(what, f"assay review {run.name}")


def _of_runs(runs: Sequence[RunRecord]) -> Iterator[Todo]:
    """The newest run of each config, where it failed without a schedule, or its model was rejected."""
    for run in _newest(runs):
        if run.status == "failed" and run.schedule is None:
            yield Todo(f"the last run of {run.config_name} failed", f"assay runs {run.name}")
        elif run.registration is not None and run.registration.status == "rejected":
            yield Todo(f"the gate rejected the last model of {run.config_name}", f"assay report {run.name}")
