"""Replies that were paid for, kept on disk so that none is bought twice, also after a crash."""

import asyncio
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, get_args

from steps.contracts.errors import IntegrityError
from steps.contracts.storage import writing
from steps.engines.llm.client import Reply
from steps.engines.llm.endpoint import Mode
from steps.engines.state_store.merged import open_segments

_TABLE = """
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY,
    text TEXT NOT NULL,
    finish_reason TEXT NOT NULL,
    refused INTEGER NOT NULL,
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    seconds REAL NOT NULL,
    mode TEXT NOT NULL,
    attempts INTEGER NOT NULL
) WITHOUT ROWID
"""
# How requests to a model had to differ from its settings when its replies were bought.
_ADAPTED = """
CREATE TABLE IF NOT EXISTS adapted (
    settings TEXT NOT NULL,
    said TEXT NOT NULL,
    PRIMARY KEY (settings, said)
) WITHOUT ROWID
"""
_COLUMNS = "text, finish_reason, refused, prompt_tokens, completion_tokens, seconds, mode, attempts"
_MARKS = "?,?,?,?,?,?,?,?,?"
# Chosen: below SQLite's oldest limit of 999 parameters.
KEYS_AT_ONCE = 500
LOCK_SECONDS = 60.0


class ReplyCache:
    """A SQLite file of replies by key; a context manager. Several processes may share it.

    `put` returns when the reply is on disk: SQLite's rollback journal with synchronous=FULL survives kill -9
    and power loss, and works where the write-ahead log doesn't (network drives with locks). Where durable state lies
    elsewhere, the file is a view of it: what other machines bought is read when it is opened, and `keep` returns when
    a reply is there as well.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        with writing(file):
            file.parent.mkdir(parents=True, exist_ok=True)
        with reading(file):
            self._db = sqlite3.connect(file, timeout=LOCK_SECONDS, isolation_level=None)
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute(_TABLE)
            self._db.execute(_ADAPTED)
            self._segments = open_segments(file, self._db, self._merge)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            if self._segments is not None:
                self._segments.close()
        finally:
            self._db.close()

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM replies").fetchone()[0])

    def get_many(self, keys: Iterable[str]) -> dict[str, Reply]:
        """The replies that are there, by key."""
        wanted = list(dict.fromkeys(keys))
        found: dict[str, Reply] = {}
        with reading(self.file):
            for start in range(0, len(wanted), KEYS_AT_ONCE):
                part = wanted[start : start + KEYS_AT_ONCE]
                marks = ",".join("?" * len(part))
                for key, *rest in self._db.execute(f"SELECT key, {_COLUMNS} FROM replies WHERE key IN ({marks})", part):
                    found[key] = _reply(rest)
        return found

    def put(self, key: str, reply: Reply) -> None:
        """Keep a reply under its key, in place of an older one."""
        with reading(self.file):
            self._db.execute(f"INSERT OR REPLACE INTO replies (key, {_COLUMNS}) VALUES ({_MARKS})", _row(key, reply))
        if self._segments is not None:
            self._segments.add(json.dumps(_row(key, reply)).encode())

    def adapted(self, settings: str) -> list[str]:
        """What was said about requests with these settings, in this run or an earlier one on this machine."""
        with reading(self.file):
            lines = self._db.execute("SELECT said FROM adapted WHERE settings = ? ORDER BY said", [settings])
            return [said for (said,) in lines]

    def put_adapted(self, settings: str, said: str) -> None:
        """Keep a sentence about requests with these settings."""
        with reading(self.file):
            self._db.execute("INSERT OR IGNORE INTO adapted (settings, said) VALUES (?, ?)", (settings, said))

    async def keep(self, key: str, reply: Reply) -> None:
        """As `put`; returns when the reply is where it outlives this machine, if there is such a place."""
        self.put(key, reply)
        if self._segments is not None:
            await asyncio.to_thread(self._segments.flush)

    def _merge(self, lines: list[bytes]) -> None:
        rows = [json.loads(line) for line in lines]
        self._db.executemany(f"INSERT OR IGNORE INTO replies (key, {_COLUMNS}) VALUES ({_MARKS})", rows)


def _row(key: str, reply: Reply) -> tuple[object, ...]:
    r = reply
    return (key, r.text, r.finish_reason, int(r.refused), r.prompt_tokens, r.completion_tokens, r.seconds, r.mode,
            r.attempts)  # fmt: skip


def _reply(values: list[object]) -> Reply:
    text, finish, refused, prompt, completion, seconds, mode, attempts = values
    if mode not in get_args(Mode):
        raise sqlite3.DatabaseError(f"unknown mode {mode!r}")
    return Reply(str(text), str(finish), bool(refused), prompt, completion, seconds, mode, attempts)  # type: ignore[arg-type]


@contextmanager
def reading(file: Path, what: str = "reply cache") -> Iterator[None]:
    """Turn SQLite's refusal to read or write `file`, called `what`, into an IntegrityError with the way out."""
    try:
        yield
    except sqlite3.OperationalError as e:
        if "locked" in str(e):
            raise IntegrityError(
                f"another process has held the {what} for over {LOCK_SECONDS:.0f} s", where=str(file),
                hint="wait for the other run to end, or give this one a cache folder of its own",
            ) from e  # fmt: skip
        raise _unreadable(file, what, e) from e
    except sqlite3.DatabaseError as e:
        raise _unreadable(file, what, e) from e


def _unreadable(file: Path, what: str, error: sqlite3.Error) -> IntegrityError:
    return IntegrityError(
        f"the {what} can't be read or written: {error}", where=str(file),
        hint="free disk space or mend permissions; if the file is damaged, move it away (what it held is asked anew)",
    )  # fmt: skip
