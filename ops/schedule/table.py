"""The table of schedules and their slots: one SQLite file in the state folder. Every change of it is one transaction.

A line per (schedule, slot), whatever became of it; lines outlive edits and the removal of their schedule. Times are
whole seconds in UTC.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ops.schedule.schedule import Schedule
from ops.schedule.slots import OPEN, Slot
from steps.contracts.errors import InputNotFoundError, IntegrityError
from steps.contracts.storage import writing
from steps.zenml_runtime.state import state_folder

_VERSION = 1
# Seconds that a command waits for another one's transaction; each takes milliseconds.
_PATIENCE = 30.0
# A scheduler looks once a minute; after so long without a look there is none.
_ABSENT = timedelta(minutes=3)
_FORM = "%Y-%m-%dT%H:%M:%SZ"
_TABLES = """
CREATE TABLE schedules (
  name TEXT PRIMARY KEY, version INTEGER NOT NULL, accounted TEXT NOT NULL, paused TEXT, removed TEXT
);
CREATE TABLE versions (
  name TEXT NOT NULL, version INTEGER NOT NULL, since TEXT NOT NULL, change TEXT NOT NULL, spec TEXT NOT NULL,
  PRIMARY KEY (name, version)
);
CREATE TABLE slots (
  schedule TEXT NOT NULL, at TEXT NOT NULL, version INTEGER NOT NULL, state TEXT NOT NULL, origin TEXT NOT NULL,
  reason TEXT NOT NULL, attempts INTEGER NOT NULL, failures INTEGER NOT NULL, not_before TEXT, run TEXT, gate TEXT,
  started TEXT, ended TEXT, UNIQUE (schedule, at)
);
CREATE INDEX slots_by_state ON slots (state, schedule, ended);
CREATE TABLE attempts (
  schedule TEXT NOT NULL, at TEXT NOT NULL, attempt INTEGER NOT NULL, started TEXT NOT NULL, ended TEXT, outcome TEXT,
  reason TEXT, run TEXT, UNIQUE (schedule, at, attempt)
);
CREATE TABLE alerts (
  schedule TEXT NOT NULL, at TEXT NOT NULL, kind TEXT NOT NULL, channel TEXT NOT NULL, text TEXT NOT NULL,
  made TEXT NOT NULL, run TEXT, sent TEXT, tries INTEGER NOT NULL DEFAULT 0, next_try TEXT, error TEXT,
  UNIQUE (schedule, at, kind, channel)
);
CREATE TABLE watched (
  schedule TEXT NOT NULL, name TEXT NOT NULL, mark TEXT NOT NULL, seen TEXT NOT NULL, since TEXT NOT NULL,
  PRIMARY KEY (schedule, name)
);
CREATE TABLE scheduler (
  one INTEGER PRIMARY KEY CHECK (one = 1), pid INTEGER NOT NULL, host TEXT NOT NULL, started TEXT NOT NULL,
  seen TEXT NOT NULL, stopped TEXT
);
"""
_SLOT = "schedule, at, version, state, origin, reason, attempts, failures, not_before, run, gate, started, ended"


@dataclass(frozen=True)
class Entry:
    """A schedule as the table has it.

    Attributes:
        accounted: the moment up to which each of its slots has a line.
        paused, removed: since when; None: it isn't.
    """

    schedule: Schedule
    version: int
    accounted: datetime
    paused: datetime | None
    removed: datetime | None


@dataclass(frozen=True)
class Version:
    """What a schedule was from a moment on, and what had changed then."""

    version: int
    since: datetime
    change: str
    spec: str


@dataclass(frozen=True)
class Attempt:
    """One run that was started for a slot."""

    attempt: int
    started: datetime
    ended: datetime | None
    outcome: str | None
    reason: str | None
    run: str | None


@dataclass(frozen=True)
class Watched:
    """How something that a schedule watches looked when a slot last came of it, and how it looked last, since when."""

    mark: str
    seen: str
    since: datetime


@dataclass(frozen=True)
class Beat:
    """The newest scheduler: since when, and when it last looked. `stopped`: when it ended in order."""

    pid: int
    host: str
    started: datetime
    seen: datetime
    stopped: datetime | None


class Table:
    """The table, opened for each transaction anew: no connection outlives a fork, a kill or a removed file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def exists(self) -> bool:
        """Whether any schedule was ever added."""
        return self.path.is_file()

    @contextmanager
    def change(self) -> Iterator["Changing"]:
        """One transaction: all that is done within happens, or nothing of it.

        Raises:
            IntegrityError: the file is damaged, or of a newer version of assay. StorageError: it can't be written.
        """
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._connected() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                if not _version(db, self.path):
                    _make(db)
                yield Changing(db)
                self._commit(db)
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def _commit(self, db: sqlite3.Connection) -> None:
        db.execute("COMMIT")

    @contextmanager
    def look(self) -> Iterator["Looking"]:
        """Reads that all see the same moment. Of a table that isn't there yet nothing is made."""
        if not self.exists:
            with sqlite3.connect(":memory:", isolation_level=None) as db:
                db.row_factory = sqlite3.Row
                _make(db)
                yield Looking(db)
            return
        with self._connected() as db:
            db.execute("BEGIN")
            if not _version(db, self.path):
                _make(db)
            yield Looking(db)
            db.execute("ROLLBACK")

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        db = None
        try:
            db = sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)
            db.row_factory = sqlite3.Row
            yield db
        except sqlite3.DatabaseError as e:
            raise _refused(e, self.path) from e
        finally:
            if db is not None:
                db.close()


def open_table(root: Path) -> Table:
    """The table of this state folder."""
    return Table(schedules_folder(root) / "table.db")


def schedules_folder(root: Path) -> Path:
    """Below the state folder: the table, the locks, and what attempts wrote."""
    return state_folder(root) / "schedules"


class Looking:
    """Reads within one transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def entries(self, *, removed: bool = False) -> list[Entry]:
        """All schedules by name; also those that were removed, when told so."""
        rows = self._db.execute(
            "SELECT s.*, v.spec FROM schedules s JOIN versions v USING (name, version)"
            f" {'' if removed else 'WHERE removed IS NULL'} ORDER BY name"
        )
        return [_entry(row) for row in rows]

    def entry(self, name: str) -> Entry:
        """The schedule of that name.

        Raises:
            InputNotFoundError: there is none, or it was removed.
        """
        known = self.entries()
        found = next((e for e in known if e.schedule.name == name), None)
        if found is None:
            names = ", ".join(e.schedule.name for e in known) or "none"
            raise InputNotFoundError(f"no schedule {name!r}", hint=f"there are: {names}; assay schedule add makes one")
        return found

    def versions(self, name: str) -> list[Version]:
        """What a schedule was, oldest first; also of one that was removed."""
        rows = self._db.execute("SELECT * FROM versions WHERE name = ? ORDER BY version", (name,))
        return [Version(r["version"], time_of(r["since"]), r["change"], r["spec"]) for r in rows]

    def slots(self, name: str | None = None, *, states: Sequence[str] = (), limit: int = -1) -> list[Slot]:
        """Slots, newest first: of a schedule, or of all; in these states, or in any."""
        where = " AND ".join(
            [
                *(["schedule = ?"] if name is not None else []),
                *([f"state IN ({', '.join('?' * len(states))})"] if states else []),
            ]
        )
        given = [*([name] if name is not None else []), *states, limit]
        query = f"SELECT {_SLOT} FROM slots {f'WHERE {where}' if where else ''} ORDER BY at DESC, schedule LIMIT ?"
        return [_slot(row) for row in self._db.execute(query, given)]

    def opened(self, name: str | None = None) -> list[Slot]:
        """Slots that haven't ended, oldest first."""
        return self.slots(name, states=OPEN)[::-1]

    def slot(self, name: str, at: datetime) -> Slot | None:
        """The slot of that time."""
        row = self._db.execute(
            f"SELECT {_SLOT} FROM slots WHERE schedule = ? AND at = ?", (name, text_of(at))
        ).fetchone()
        return _slot(row) if row else None

    def attempts(self, name: str, at: datetime) -> list[Attempt]:
        """The runs that were started for a slot, in their order."""
        query = "SELECT * FROM attempts WHERE schedule = ? AND at = ? ORDER BY attempt"
        rows = self._db.execute(query, (name, text_of(at)))
        return [
            Attempt(r["attempt"], time_of(r["started"]), _maybe(r["ended"]), r["outcome"], r["reason"], r["run"])
            for r in rows
        ]

    def newest_result(self, name: str) -> Slot | None:
        """The slot that ended well last: it ran, or found nothing new."""
        well = "(state = 'ran' OR (state = 'skipped' AND attempts > 0))"
        query = f"SELECT {_SLOT} FROM slots WHERE schedule = ? AND {well} ORDER BY ended DESC LIMIT 1"
        row = self._db.execute(query, (name,)).fetchone()
        return _slot(row) if row else None

    def beat(self) -> Beat | None:
        """The newest scheduler; None: there was none yet."""
        row = self._db.execute("SELECT * FROM scheduler").fetchone()
        if row is None:
            return None
        return Beat(row["pid"], row["host"], time_of(row["started"]), time_of(row["seen"]), _maybe(row["stopped"]))

    def is_served(self, now: datetime) -> bool:
        """Whether a scheduler has looked at the table lately."""
        beat = self.beat()
        return beat is not None and beat.stopped is None and now - beat.seen < _ABSENT

    def watched(self, name: str) -> dict[str, Watched]:
        """What a schedule watches, by its name."""
        rows = self._db.execute("SELECT * FROM watched WHERE schedule = ?", (name,))
        return {r["name"]: Watched(r["mark"], r["seen"], time_of(r["since"])) for r in rows}

    def rows(self, query: str, given: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """What another query gives."""
        return self._db.execute(query, given).fetchall()


class Changing(Looking):
    """Reads and writes within one transaction."""

    def put_schedule(self, entry: Entry, change: str, now: datetime) -> None:
        """Keep a schedule as a new version of its own."""
        self._db.execute(
            "INSERT INTO versions VALUES (?, ?, ?, ?, ?)",
            (entry.schedule.name, entry.version, text_of(now), change, entry.schedule.model_dump_json()),
        )
        self.put_entry(entry)

    def put_entry(self, entry: Entry) -> None:
        """Keep what changes about a schedule without a new version."""
        times = [text_of(t) if t else None for t in (entry.accounted, entry.paused, entry.removed)]
        self._db.execute(
            "INSERT OR REPLACE INTO schedules VALUES (?, ?, ?, ?, ?)", (entry.schedule.name, entry.version, *times)
        )

    def put_slots(self, slots: Iterable[Slot]) -> None:
        """Keep slots, each in the place of what the table had of it."""
        self._db.executemany(
            f"INSERT OR REPLACE INTO slots ({_SLOT}) VALUES ({', '.join('?' * len(_SLOT.split(',')))})",
            [
                (
                    s.schedule, text_of(s.at), s.version, s.state, s.origin, s.reason, s.attempts, s.failures,
                    *(text_of(t) if t else None for t in (s.not_before,)), s.run, s.gate,
                    *(text_of(t) if t else None for t in (s.started, s.ended)),
                )
                for s in slots
            ],
        )  # fmt: skip

    def withdraw(self, name: str, now: datetime) -> datetime | None:
        """Forget the slots that were decided by a clock that ran ahead of this moment, and that nothing was started
        for; returns the first one's time.
        """
        which = "schedule = ? AND attempts = 0 AND origin IN ('cron', 'catchup') AND (at > ? OR ended > ?)"
        given = (name, text_of(now), text_of(now))
        first = self._db.execute(f"SELECT min(at) FROM slots WHERE {which}", given).fetchone()[0]
        self._db.execute(f"DELETE FROM slots WHERE {which}", given)
        return _maybe(first)

    def begin_attempt(self, slot: Slot, now: datetime) -> None:
        """Note that a run of a slot is about to be started."""
        self._db.execute(
            "INSERT OR REPLACE INTO attempts (schedule, at, attempt, started) VALUES (?, ?, ?, ?)",
            (slot.schedule, text_of(slot.at), slot.attempts, text_of(now)),
        )

    def end_attempt(self, slot: Slot, outcome: str, reason: str, run: str | None, now: datetime) -> None:
        """Note what came of the newest attempt."""
        self._db.execute(
            "UPDATE attempts SET ended = ?, outcome = ?, reason = ?, run = ?"
            " WHERE schedule = ? AND at = ? AND attempt = ?",
            (text_of(now), outcome, reason, run, slot.schedule, text_of(slot.at), slot.attempts),
        )

    def drop_attempt(self, slot: Slot) -> None:
        """Forget an attempt that never began."""
        self._db.execute(
            "DELETE FROM attempts WHERE schedule = ? AND at = ? AND attempt = ?",
            (slot.schedule, text_of(slot.at), slot.attempts),
        )

    def put_beat(self, beat: Beat) -> None:
        """Note that a scheduler lives."""
        times = [text_of(t) if t else None for t in (beat.started, beat.seen, beat.stopped)]
        self._db.execute("INSERT OR REPLACE INTO scheduler VALUES (1, ?, ?, ?, ?, ?)", (beat.pid, beat.host, *times))

    def put_watched(self, name: str, watched: str, state: Watched) -> None:
        """Note how something that a schedule watches looks."""
        given = (name, watched, state.mark, state.seen, text_of(state.since))
        self._db.execute("INSERT OR REPLACE INTO watched VALUES (?, ?, ?, ?, ?)", given)

    def keep_watched(self, name: str, watched: Sequence[str]) -> None:
        """Forget how else looked that the schedule watches no more."""
        unknown = f"name NOT IN ({', '.join('?' * len(watched))})" if watched else "1"
        self._db.execute(f"DELETE FROM watched WHERE schedule = ? AND {unknown}", (name, *watched))

    def do(self, statement: str, given: Sequence[Any] = ()) -> int:
        """Another change; returns how many lines it changed."""
        return self._db.execute(statement, given).rowcount


def text_of(moment: datetime) -> str:
    """A moment as the table has it."""
    return moment.astimezone(UTC).strftime(_FORM)


def time_of(text: str) -> datetime:
    """The same as a moment."""
    return datetime.fromisoformat(text)


def _maybe(text: str | None) -> datetime | None:
    return time_of(text) if text else None


def _entry(row: sqlite3.Row) -> Entry:
    try:
        schedule = Schedule.model_validate_json(row["spec"])
    except ValidationError as e:
        what = f"schedule {row['name']}, as it is stored, can't be understood here: {e.errors()[0]['msg']}"
        hint = "another version of assay, or other time zone data, wrote it: use that one, or update"
        raise IntegrityError(what, hint=hint) from e
    return Entry(schedule, row["version"], time_of(row["accounted"]), _maybe(row["paused"]), _maybe(row["removed"]))


def _slot(row: sqlite3.Row) -> Slot:
    values = dict(row)
    for name in ("not_before", "started", "ended"):
        values[name] = _maybe(values[name])
    return Slot(**{**values, "at": time_of(values["at"])})


def _version(db: sqlite3.Connection, path: Path) -> int:
    """The version of the table's form; 0 where it is empty."""
    found = int(db.execute("PRAGMA user_version").fetchone()[0])
    if found > _VERSION:
        what = f"written by a newer assay (form {found}, this one knows {_VERSION})"
        raise IntegrityError(what, where=str(path), hint="update assay; nothing was changed")
    return found


def _make(db: sqlite3.Connection) -> None:
    for statement in _TABLES.split(";"):
        db.execute(statement)
    db.execute(f"PRAGMA user_version = {_VERSION}")


def _refused(error: sqlite3.DatabaseError, path: Path) -> Exception:
    from steps.contracts.errors import StorageError

    if isinstance(error, sqlite3.OperationalError):
        hint = "another process holds it, or it can't be written: look at its folder's space and permissions"
        return StorageError(f"the table of schedules: {error}", where=str(path), hint=hint)
    return IntegrityError(
        f"not a table of schedules: {error}",
        where=str(path),
        hint="put it back from a copy, or move it away and add the schedules anew: its history is lost then",
    )
