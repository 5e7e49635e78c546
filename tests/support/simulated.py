"""A year of a schedule in a second: the real table, policy and scheduler, with a clock and runs that are made up.

The scheduler is killed at random: before, within and after any transaction, and between a slot's claim and its run.
Its machine sleeps and goes down, runs overlap, people edit, pause, resume and ask for runs. After each transaction the
table is held against `Judge`, which knows the policy in other words: it counts slots date by date, one by one.
"""

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from unittest import mock
from zoneinfo import ZoneInfo

from support.clockwork import Quick

from ops.schedule import moves, scheduler
from ops.schedule.schedule import Schedule
from ops.schedule.slots import Result, Slot
from ops.schedule.table import Changing, Entry, Table, time_of

BERLIN = ZoneInfo("Europe/Berlin")
# Both changes of 2026 lie between: 29 March and 25 October.
FIRST = datetime(2026, 3, 26, 12, tzinfo=UTC)
# What `cron` says, as times of the day: of all days, or of workdays.
CRONS: dict[str, tuple[tuple[tuple[int, int], ...], bool]] = {
    "30 2 * * *": (((2, 30),), False),
    "0 2,14 * * *": (((2, 0), (14, 0)), False),
    "*/30 2 * * *": (((2, 0), (2, 30)), False),
    "15 3 * * 1-5": (((3, 15),), True),
    "0 */8 * * *": (((0, 0), (8, 0), (16, 0)), False),
}
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Killed(BaseException):
    """What stands for SIGKILL."""


@dataclass
class World:
    """What is outside the table: time, runs, chance."""

    rng: random.Random
    now: datetime = FIRST
    danger: float = 0.02
    runs: dict[tuple[datetime, int], tuple[datetime, Result]] = field(default_factory=dict)
    kills: int = 0
    # How long runs take.
    spans: tuple[timedelta, ...] = (HOUR / 12, HOUR / 2, 3 * HOUR, 9 * HOUR, 30 * HOUR)

    def may_die(self) -> None:
        if self.rng.random() < self.danger:
            self.kills += 1
            raise Killed

    # What the scheduler takes for the module `attempts`; an attempt is known by its slot's time and number.
    def folder_of(self, _root: Path, slot: Slot) -> tuple[datetime, int]:
        return slot.at, slot.attempts

    def start(self, _root: Path, schedule: Schedule, slot: Slot) -> "Process":
        self.may_die()
        key = slot.at, slot.attempts
        assert key not in self.runs, "an attempt is started once"
        assert not any(end > self.now and at != slot.at for (at, _), (end, _) in self.runs.items()), (
            "one runs at a time"
        )
        lasts = self.rng.choice(self.spans)
        failed = Result("failed", "a service is down", may_pass=self.rng.random() < 0.8)
        good = Result("completed", "", f"run-{len(self.runs)}")
        self.runs[key] = self.now + lasts, failed if self.rng.random() < 0.2 else good
        self.may_die()
        return Process(self, key)

    def lives(self, folder: tuple[datetime, int]) -> bool:
        return folder in self.runs and self.runs[folder][0] > self.now

    def result_of(self, _root: Path, _schedule: Schedule, slot: Slot) -> Result:
        key = slot.at, slot.attempts
        return self.runs[key][1] if key in self.runs else Result("never")

    def reap(self, _root: Path) -> None: ...

    def wait(self, _folder: object) -> None: ...

    def tell(self, *_: object) -> None: ...

    def tidy(self, _root: Path, _name: str) -> None: ...

    def go_down(self) -> None:
        """The machine: all that runs dies without a word."""
        gone = Result("failed", "killed")
        self.runs = {k: (end, r) if end <= self.now else (self.now, gone) for k, (end, r) in self.runs.items()}

    def sleep(self, span: timedelta) -> None:
        """The machine: nothing goes on meanwhile."""
        self.runs = {k: (end if end <= self.now else end + span, r) for k, (end, r) in self.runs.items()}
        self.now += span


@dataclass
class Process:
    world: World
    key: tuple[datetime, int]

    def poll(self) -> int | None:
        return None if self.world.lives(self.key) else 0

    def wait(self) -> None: ...


class Deadly(Quick):
    """A table at which one dies; each transaction that comes through is judged."""

    def __init__(self, path: Path, world: World, judge: "Judge") -> None:
        super().__init__(path)
        self._world, self._judge = world, judge

    @contextmanager
    def change(self) -> Iterator[Changing]:
        self._world.may_die()
        with super().change() as t:
            yield t
            self._world.may_die()
        self._judge.see(self, self._world)
        self._world.may_die()


class Judge:
    """The policy in other words."""

    def __init__(self) -> None:
        self.entry: Entry | None = None
        self.slots: dict[datetime, Slot] = {}
        self.rows: set[tuple[Any, ...]] = set()
        self.expected: set[datetime] = set()

    def see(self, table: Table, world: World) -> None:
        with table.look() as t:
            entry, rows = t.entries()[0], {tuple(row) for row in t.rows("SELECT * FROM slots")}
            # Rows that are as they were are slots that are as they were.
            changed = {at: slot for row in rows - self.rows if (slot := t.slot("s", at := time_of(row[1])))}
        assert {row[1] for row in self.rows} <= {row[1] for row in rows}, "no slot is forgotten"
        slots = {**self.slots, **changed}
        if self.entry is not None:
            self._came(self.entry, entry, slots, world.now)
            for at in changed.keys() & self.slots.keys():
                self._moved(self.slots[at], slots[at], entry, slots, world)
        self.entry, self.slots, self.rows = entry, slots, rows

    def _came(self, before: Entry, after: Entry, slots: dict[datetime, Slot], now: datetime) -> None:
        """Slots that got their line: each of the stretch, none else, and each as its policy says."""
        due = times_between(before.schedule, before.accounted, after.accounted)
        new = {at for at, s in slots.items() if at not in self.slots and s.origin not in ("manual",)}
        assert new == set(due), (before.accounted, after.accounted, sorted(new ^ set(due)))
        assert not self.expected & new
        self.expected |= new
        line = {at: s for at, s in self.slots.items() if s.is_open and slots[at].is_open}
        for at in due:
            wanted = self._wanted(before, at, due, line, now)
            if after.paused is not None and before.paused is None and wanted == "queued":
                wanted = "paused"
            assert slots[at].state == wanted, (at, wanted, slots[at], before, now)
            if wanted == "queued":
                line[at] = slots[at]

    def _wanted(
        self, entry: Entry, at: datetime, due: list[datetime], line: dict[datetime, Slot], now: datetime
    ) -> str:
        policy = entry.schedule
        if entry.paused is not None:
            return "paused"
        if now - at >= lateness(policy, at):
            newest = at == due[-1]
            return "queued" if policy.catchup == "all" or (policy.catchup == "latest" and newest) else "missed"
        if not line:
            return "queued"
        if policy.catchup == "all" and any(s.state == "queued" and s.origin == "catchup" for s in line.values()):
            return "queued"
        waits = any(s.state == "queued" and s.attempts == 0 and s.origin == "cron" for s in line.values())
        return "queued" if policy.overlap == "queue" and not waits else "skipped"

    def _moved(self, before: Slot, after: Slot, entry: Entry, slots: dict[datetime, Slot], world: World) -> None:
        """A slot that had its line: how it may go on."""
        if after == before:
            return
        assert before.is_open, f"what has ended stays as it is: {before} {after}"
        what = before.state, after.state
        if what == ("queued", "running"):
            others = [s for at, s in self.slots.items() if at != before.at and s.state == "running"]
            on_time = after.at <= world.now or after.origin == "manual"
            assert not others and on_time and after.attempts == before.attempts + 1
            assert before.not_before is None or before.not_before <= world.now
        elif what in (("queued", "missed"), ("queued", "queued")):
            assert self.entry is not None and before.attempts == 0
            overtaken = before.origin == "catchup" and any(at > before.at and at not in self.slots for at in slots)
            assert overtaken or world.now - before.at >= lateness(self.entry.schedule, before.at), (before, after)
        elif what in (("queued", "paused"), ("queued", "failed")):
            assert entry.paused is not None and (after.state == "failed") == (before.failures > 0)
        elif before.state == "running":
            self._ended(before, after, entry, world)
        else:
            raise AssertionError(f"no way from {before} to {after}")

    def _ended(self, before: Slot, after: Slot, entry: Entry, world: World) -> None:
        end, result = world.runs.get((before.at, before.attempts), (world.now, Result("never")))
        assert end <= world.now
        if result.kind == "completed":
            assert after.state == "ran" and after.run == result.run
        elif result.kind == "never":
            assert after.attempts == before.attempts - 1 and after.state in ("queued", "paused", "failed")
        else:
            over = entry.paused is not None and before.origin != "manual"
            again = result.may_pass and before.failures < entry.schedule.retries and not over
            assert after.state == ("queued" if again else "failed"), (before, after)


def times_between(schedule: Schedule, after: datetime, until: datetime) -> list[datetime]:
    """The slots of a stretch, by counting days."""
    times, workdays = CRONS[schedule.cron or ""]
    day, found = (after - 2 * DAY).date(), set()
    while day <= (until + 2 * DAY).date():
        if not workdays or day.isoweekday() <= 5:
            found |= {on_the_wall(day, h, m) for h, m in times}
        day += DAY
    return sorted(at for at in found if after < at <= until)


def on_the_wall(day: date, hour: int, minute: int) -> datetime:
    """When clocks of Berlin first show that time, or else have passed it."""
    wall = datetime.combine(day, time(hour, minute))
    moment = wall.replace(tzinfo=BERLIN).astimezone(UTC)
    if moment.astimezone(BERLIN).replace(tzinfo=None) == wall:
        return moment
    while (moment - timedelta(minutes=1)).astimezone(BERLIN).replace(tzinfo=None) > wall:
        moment -= timedelta(minutes=1)
    return moment


def lateness(schedule: Schedule, at: datetime) -> timedelta:
    if schedule.max_lateness is not None:
        return schedule.max_lateness
    return min(HOUR, times_between(schedule, at, at + 7 * DAY)[0] - at)


def policy(rng: random.Random) -> dict[str, Any]:
    return {
        "cron": rng.choice(list(CRONS)), "catchup": rng.choice(["none", "latest", "all"]),
        "overlap": rng.choice(["skip", "queue"]), "retries": rng.choice([0, 0, 1, 3]),
        "max_lateness": rng.choice([None, None, HOUR / 4, 20 * HOUR]), "backoff": rng.choice([HOUR / 60, 2 * HOUR]),
    }  # fmt: skip


@dataclass
class Simulation:
    """One life of one schedule. `state`: the state folder, where the scheduler's pipe lies."""

    seed: int
    state: Path
    days: int = 225

    def run(self) -> tuple[Counter[str], int]:
        """How slots of the clock ended, and how often the scheduler was killed.

        Raises:
            AssertionError: a slot isn't accounted for as its policy says.
        """
        self.rng = random.Random(self.seed)
        self.world, self.judge = World(self.rng), Judge()
        self.table = Deadly(self.state / f"{self.seed}.db", self.world, self.judge)
        given = {"name": "s", "config": "c.yaml", "tz": "Europe/Berlin", **policy(self.rng)}
        with self._calm():
            moves.add(self.table, Schedule(**given), FIRST)
        made_up = {"attempts": self.world, "_say": lambda _: None, "_HEARTBEAT": 400 * DAY}
        with mock.patch.multiple(scheduler, **made_up):
            self._live(FIRST + self.days * DAY)
            with self._calm():
                moves.resume(self.table, "s", self.world.now)
                # What has lined up comes to an end.
                self.world.spans = (HOUR / 12,)
                self._live(self.world.now + 20 * DAY, disturbed=False)
        return self._account(), self.world.kills

    def _live(self, until: datetime, *, disturbed: bool = True) -> None:
        one = None
        disturbance = self.world.now + self._span(3 * DAY)
        while self.world.now < until:
            try:
                if one is None:
                    one = scheduler.Scheduler(self.state.parent, self.table, 9, lambda: self.world.now)
                    one._tell = lambda **_: None  # type: ignore[method-assign]
                    one._find_running()
                soonest = one._next_look(one._look())
                # An end rings the bell.
                ends = [end for end, _ in self.world.runs.values() if end > self.world.now]
                self.world.now = max(self.world.now, min([soonest, *ends, *([disturbance] if disturbed else [])]))
                if disturbed and self.world.now >= disturbance:
                    disturbance = self.world.now + self._span(3 * DAY)
                    self._disturb()
            except Killed:
                if one is not None:
                    one._bell.close()
                one = None
                self._recover()
        if one is not None:
            one._bell.close()

    def _disturb(self) -> None:
        now, kind = self.world.now, self.rng.choice(["kill", "sleep", "edit", "pause", "resume", "resume", "run-now"])
        if kind == "kill":
            self.world.kills += 1
            raise Killed
        if kind == "sleep":
            self.world.sleep(self._span(20 * HOUR))
        elif kind == "edit":
            moves.edit(self.table, "s", policy(self.rng), now)
        elif kind == "pause":
            moves.pause(self.table, "s", now)
        elif kind == "resume":
            moves.resume(self.table, "s", now)
        else:
            moves.run_now(self.table, "s", now)

    def _recover(self) -> None:
        """Soon, or much later; sometimes the machine was down as well."""
        if self.rng.random() < 0.2:
            self.world.go_down()
        self.world.now += self.rng.choice([timedelta(seconds=2), timedelta(seconds=2), HOUR / 10, 5 * HOUR, 3 * DAY])

    def _span(self, mean: timedelta) -> timedelta:
        return timedelta(seconds=1 + int(self.rng.expovariate(1 / mean.total_seconds())))

    @contextmanager
    def _calm(self) -> Iterator[None]:
        danger, self.world.danger = self.world.danger, 0.0
        yield
        self.world.danger = danger

    def _account(self) -> Counter[str]:
        with self.table.look() as t:
            slots = t.slots("s")
            attempts = {(s.at, a.attempt): a for s in slots for a in t.attempts("s", s.at)}
        assert attempts.keys() == self.world.runs.keys(), "each run is in the history, and nothing else"
        by_clock = [s for s in slots if s.origin != "manual"]
        assert len(by_clock) == len({s.at for s in by_clock}) and {s.at for s in by_clock} == self.judge.expected
        # What came in the last stretch may still be on its way.
        assert all(not s.is_open for s in slots if s.at < self.world.now - 3 * DAY), "nothing is left open"
        for slot in slots:
            done = [k for k, (_, r) in self.world.runs.items() if k[0] == slot.at and r.kind == "completed"]
            assert len(done) <= 1, "no slot's work is done twice"
        return Counter(s.state for s in by_clock)
