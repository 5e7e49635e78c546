"""Replies that were paid for, kept on disk so that none is bought twice, also after a crash."""

import json
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

from steps.engines.llm.client import Reply
from steps.engines.llm.endpoint import Mode
from steps.engines.state_store.tables import DurableTables

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
# Sums of the replies' bytes: SQLite has none. Replies of older files have none either.
_SUMS = "CREATE TABLE IF NOT EXISTS sums (key TEXT PRIMARY KEY, sum INTEGER NOT NULL) WITHOUT ROWID"
# How requests to a model had to differ from its settings when its replies were bought.
_ADAPTED = """
CREATE TABLE IF NOT EXISTS adapted (
    settings TEXT NOT NULL,
    said TEXT NOT NULL,
    PRIMARY KEY (settings, said)
) WITHOUT ROWID
"""
# Questions whose replies are to come in a batch: its id, or the name of one that was about to be made.
_BATCHED = "CREATE TABLE IF NOT EXISTS batched (key TEXT PRIMARY KEY, batch TEXT NOT NULL) WITHOUT ROWID"
_COLUMNS = "text, finish_reason, refused, prompt_tokens, completion_tokens, seconds, mode, attempts"
_MARKS = "?,?,?,?,?,?,?,?,?"
_PAIRS = "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)"
# Chosen: below SQLite's oldest limit of 999 parameters.
KEYS_AT_ONCE = 500


class ReplyCache(DurableTables):
    """A SQLite file of replies by key; a context manager. Several processes may share it.

    `put` returns when the replies are on disk: SQLite's rollback journal with synchronous=FULL survives kill -9
    and power loss, and works where the write-ahead log doesn't (network drives with locks). Where durable state lies
    elsewhere, the file is a view of it: what other machines bought is read when it is opened, and `put` returns when
    the replies are there as well. A reply whose bytes have another sum than when it was put isn't there.

    Attributes:
        damaged: keys of such replies, as far as they were asked for.
    """

    what = "reply cache"
    tables = (_TABLE, _SUMS, _ADAPTED, _BATCHED)

    def __init__(self, file: Path) -> None:
        self.damaged: set[str] = set()
        super().__init__(file)

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM replies").fetchone()[0])

    def get_many(self, keys: Iterable[str]) -> dict[str, Reply]:
        """The replies that are there, by key."""
        wanted = list(dict.fromkeys(keys))
        found: dict[str, Reply] = {}
        with self._reading():
            for start in range(0, len(wanted), KEYS_AT_ONCE):
                part = wanted[start : start + KEYS_AT_ONCE]
                marks = ",".join("?" * len(part))
                asked = f"SELECT sum, key, {_COLUMNS} FROM replies LEFT JOIN sums USING (key) WHERE key IN ({marks})"
                for put, *row in self._db.execute(asked, part):
                    if put is None or put == _sum(row):
                        found[row[0]] = _reply(row[1:])
                    else:
                        self.damaged.add(row[0])
        return found

    def put(self, replies: Iterable[tuple[str, Reply]]) -> None:
        """Keep replies under their keys, in place of older ones."""
        rows = [_row(key, reply) for key, reply in replies]
        # One statement for all: SQLite lets go of the interpreter once, and not for every row.
        fields = ", ".join(f"json_extract(value, '$[{n}]')" for n in range(len(_COLUMNS.split(",")) + 1))
        with self._transaction():
            into = f"INSERT OR REPLACE INTO replies (key, {_COLUMNS})"
            self._db.execute(f"{into} SELECT {fields} FROM json_each(?)", [json.dumps(rows)])
            sums = json.dumps([(row[0], _sum(row)) for row in rows])
            self._db.execute(f"INSERT OR REPLACE INTO sums {_PAIRS}", [sums])
        if self._segments is not None:
            for row in rows:
                self._segments.add(json.dumps(row).encode())
            self._segments.flush()

    def keep(self, replies: Iterable[tuple[str, Reply]]) -> None:
        """Replies as they come: they outlive this process from now on, the machine once they were `put`."""
        self.ahead(*(json.dumps(_row(key, reply)).encode() for key, reply in replies))

    def batches(self, keys: Iterable[str]) -> dict[str, str]:
        """Of those of these questions that wait for a batch, which one."""
        wanted = list(dict.fromkeys(keys))
        found: dict[str, str] = {}
        with self._reading():
            for start in range(0, len(wanted), KEYS_AT_ONCE):
                part = wanted[start : start + KEYS_AT_ONCE]
                marks = ",".join("?" * len(part))
                found |= dict(self._db.execute(f"SELECT key, batch FROM batched WHERE key IN ({marks})", part))
        return found

    def put_batched(self, keys: Iterable[str], batch: str | None) -> None:
        """Note that questions wait for a batch; None: for none any more. Returns when that is where it lasts."""
        lines = [["batched", key, batch] for key in keys]
        with self._transaction():
            self._enter_batched(lines)
        if self._segments is not None:
            for line in lines:
                self._segments.add(json.dumps(line).encode())
            self._segments.flush()

    def _enter_batched(self, lines: list[Any]) -> None:
        for _, key, batch in lines:
            if batch is None:
                self._db.execute("DELETE FROM batched WHERE key = ?", [key])
            else:
                self._db.execute("INSERT OR REPLACE INTO batched VALUES (?, ?)", [key, batch])

    def adapted(self, settings: str) -> list[str]:
        """What was said about requests with these settings, in this run or an earlier one on this machine."""
        with self._reading():
            lines = self._db.execute("SELECT said FROM adapted WHERE settings = ? ORDER BY said", [settings])
            return [said for (said,) in lines]

    def put_adapted(self, settings: str, said: str) -> None:
        """Keep a sentence about requests with these settings."""
        with self._reading():
            self._db.execute("INSERT OR IGNORE INTO adapted (settings, said) VALUES (?, ?)", (settings, said))

    def _merge(self, lines: list[bytes]) -> None:
        entries = [json.loads(line) for line in lines]
        self._enter_batched([e for e in entries if e[0] == "batched"])
        rows = [e for e in entries if e[0] != "batched"]
        self._db.executemany(f"INSERT OR IGNORE INTO replies (key, {_COLUMNS}) VALUES ({_MARKS})", rows)
        self._db.executemany("INSERT OR IGNORE INTO sums VALUES (?, ?)", [(row[0], _sum(row)) for row in rows])


def _row(key: str, reply: Reply) -> tuple[object, ...]:
    r = reply
    return (key, r.text, r.finish_reason, int(r.refused), r.prompt_tokens, r.completion_tokens, float(r.seconds),
            r.mode, r.attempts)  # fmt: skip


def _sum(row: Sequence[object]) -> int:
    """Of a reply's values but its seconds: where a machine has no long double, SQLite may read their last bit otherwise
    than Python wrote it.
    """
    return zlib.crc32(json.dumps([value for value in row if not isinstance(value, float)]).encode())


def _reply(values: list[object]) -> Reply:
    text, finish, refused, prompt, completion, seconds, mode, attempts = values
    if mode not in get_args(Mode):
        raise sqlite3.DatabaseError(f"unknown mode {mode!r}")
    return Reply(str(text), str(finish), bool(refused), prompt, completion, seconds, mode, attempts)  # type: ignore[arg-type]
