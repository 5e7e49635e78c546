"""Schedules without a clock and without runs: a table in a folder, moments as text."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ops.schedule import moves
from ops.schedule.schedule import Schedule
from ops.schedule.slots import Result, Slot
from ops.schedule.table import Table

DONE = Result("completed", "", "run-1")
BROKEN = Result("failed", "the server doesn't answer")
WRONG = Result("failed", "a wrong config", may_pass=False)


def at(text: str) -> datetime:
    """A moment: of 1 March 2026 in UTC where only a time is given."""
    return datetime.fromisoformat(text if "T" in text else f"2026-03-01T{text}").replace(tzinfo=UTC)


class Quick(Table):
    """A table that doesn't wait for the disk: it outlives kills, not power cuts."""

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with super()._connected() as db:
            db.execute("PRAGMA synchronous = OFF")
            yield db


class Desk:
    """One schedule, `s`, and the moves on it."""

    def __init__(self, folder: Path, now: str = "00:00", **given: Any) -> None:
        self.table = Quick(folder / "table.db")
        self.schedule = Schedule(**{"name": "s", "config": "c.yaml", "cron": "0 * * * *", **given})
        moves.add(self.table, self.schedule, at(now))

    def account(self, now: str) -> None:
        moves.account(self.table, at(now))

    def start(self, now: str, at_once: int = 9) -> Slot | None:
        claimed = moves.claim(self.table, at(now), at_once)
        return claimed[1] if claimed else None

    def look(self, now: str) -> Slot | None:
        """What a scheduler does when it looks; returns what it starts."""
        self.account(now)
        return self.start(now)

    def end(self, slot: Slot | None, now: str, result: Result = DONE) -> Slot:
        assert slot is not None
        done = moves.conclude(self.table, slot, result, at(now))
        assert done is not None
        return done

    def slots(self) -> dict[str, tuple[str, str]]:
        """State and origin by time, oldest first."""
        with self.table.look() as t:
            return {f"{s.at:%H:%M}": (s.state, s.origin) for s in t.slots()[::-1]}

    def states(self) -> dict[str, str]:
        return {time: state for time, (state, _) in self.slots().items()}

    def why(self, time: str) -> str:
        with self.table.look() as t:
            found = t.slot("s", at(time))
        assert found is not None
        return found.reason
