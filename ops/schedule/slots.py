"""A slot: one moment at which a schedule wanted a run, and what became of it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

# Open: queued (waits for its turn, or for its next attempt) and running. The others are how a slot ends.
State: TypeAlias = Literal["queued", "running", "ran", "failed", "skipped", "missed", "paused"]
# cron: in time; catchup: after its time; change: on_change; manual: run-now.
Origin: TypeAlias = Literal["cron", "catchup", "change", "manual", "backfill"]
OPEN: tuple[State, ...] = ("queued", "running")


@dataclass(frozen=True)
class Slot:
    """A line of the table.

    Attributes:
        at: its time, in UTC.
        version: of the schedule that wanted it.
        reason: why it is in this state.
        attempts: runs that were started for it; failures: those of them that count against `retries`.
        not_before: when the next attempt may start.
        run: name of the newest run of it that is known.
        gate: promoted or rejected, where a model was registered; where production was looked at, the verdict.
        started, ended: of the newest attempt.
    """

    schedule: str
    at: datetime
    state: State
    origin: Origin
    version: int = 1
    reason: str = ""
    attempts: int = 0
    failures: int = 0
    not_before: datetime | None = None
    run: str | None = None
    gate: str | None = None
    started: datetime | None = None
    ended: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Whether it hasn't ended yet."""
        return self.state in OPEN

    @property
    def waits_unstarted(self) -> bool:
        """Whether it waits for its first attempt."""
        return self.state == "queued" and self.attempts == 0

    @property
    def in_line(self) -> bool:
        """Whether it is of the line in which slots wait for each other; backfills have one of their own beside it."""
        return self.origin != "backfill"


@dataclass(frozen=True)
class Decided:
    """What becomes of a slot that there wasn't, or that has waited."""

    at: datetime
    state: State
    origin: Origin
    reason: str = ""


@dataclass(frozen=True)
class Result:
    """What came of an attempt.

    Attributes:
        kind: completed; unchanged: it found nothing new to read; failed; stopped: the scheduler ended it, to go on
            later; never: the scheduler died before it began.
        reason: in words.
        may_pass: whether another attempt may end otherwise.
    """

    kind: Literal["completed", "unchanged", "failed", "stopped", "never"]
    reason: str = ""
    run: str | None = None
    gate: str | None = None
    may_pass: bool = True
