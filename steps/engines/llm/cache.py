"""Replies that were paid for, kept on disk so that none is bought twice, also after a crash."""

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias, get_args

from steps.engines.llm.client import Reply
from steps.engines.llm.endpoint import Mode
from steps.engines.state_store.tables import SUMS, DurableTables, row_sum

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
# Questions whose replies are to come in a batch: its id, or the name of one that was about to be made.
_BATCHED = "CREATE TABLE IF NOT EXISTS batched (key TEXT PRIMARY KEY, batch TEXT NOT NULL) WITHOUT ROWID"
# Questions that a process is about to ask, or has asked: those with a reply of use aren't among them.
_CLAIMS = "CREATE TABLE IF NOT EXISTS claims (key TEXT PRIMARY KEY, process TEXT NOT NULL) WITHOUT ROWID"
_COLUMNS = "text, finish_reason, refused, prompt_tokens, completion_tokens, seconds, mode, attempts"
_MARKS = "?,?,?,?,?,?,?,?,?"

# Questions by their keys, with the replies that there were when they were asked, which aren't of use.
Before: TypeAlias = Mapping[str, Reply | None]


class ReplyCache(DurableTables):
    """A SQLite file of replies by key; a context manager. Several processes may share it.

    `put` returns when the replies are on disk: SQLite's rollback journal with synchronous=FULL survives kill -9
    and power loss, and works where the write-ahead log doesn't (network drives with locks). Where durable state lies
    elsewhere, the file is a view of it: what other machines bought is read when it is opened, and `put` returns when
    the replies are there as well. A reply whose bytes have another sum than when it was put isn't there, but in
    `damaged`.
    """

    what = "reply cache"
    tables = (_TABLE, SUMS, _ADAPTED, _BATCHED, _CLAIMS)

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self._forget_dead()

    def _forget_dead(self) -> None:
        with self._reading():
            claiming = [process for (process,) in self._db.execute("SELECT DISTINCT process FROM claims")]
            dead = [(process,) for process in claiming if self.last_sign(process) is None]
            self._db.executemany("DELETE FROM claims WHERE process = ?", dead)

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM replies").fetchone()[0])

    def get_many(self, keys: Iterable[str]) -> dict[str, Reply]:
        """The replies that are there, by key."""
        found: dict[str, Reply] = {}
        with self._reading():
            for key, *values in self._sound(_COLUMNS, "replies", keys):
                found[key] = _reply(values)
        return found

    def claim(self, before: Before, gone: Collection[str] = ()) -> tuple[dict[str, Reply], dict[str, str]]:
        """Claim questions for this process: the replies that there are by now, and of the other questions which process
        has claimed them; those in neither are this one's from now on. Claims of processes that are `gone` don't count.
        """
        with self._transaction():
            found, held = self._ended(before, gone)
            mine = [key for key in before if key not in found and key not in held]
            into = "INSERT OR REPLACE INTO claims SELECT value, ? FROM json_each(?)"
            self._db.execute(into, [self.me, json.dumps(mine)])
        return found, held

    def claimed(self, before: Before) -> tuple[dict[str, Reply], dict[str, str]]:
        """As `claim`, of what other processes have claimed, and nothing is claimed."""
        with self._reading():
            return self._ended(before, ())

    def _ended(self, before: Before, gone: Collection[str]) -> tuple[dict[str, Reply], dict[str, str]]:
        counts = {self.me, *gone}
        claimed = self._by_key("key, process FROM claims", before)
        held = {key: process for key, process in claimed if process not in counts}
        found = self.get_many(key for key in before if key not in held)
        return {key: reply for key, reply in found.items() if reply != before[key]}, held

    def release(self, keys: Iterable[str]) -> None:
        """These won't be bought by this process."""
        with self._transaction():
            self._release(keys)

    def _release(self, keys: Iterable[str]) -> None:
        if self._journal is not None:
            of_mine = "DELETE FROM claims WHERE key IN (SELECT value FROM json_each(?)) AND process = ?"
            self._db.execute(of_mine, [json.dumps(list(keys)), self._journal.id])

    def put(self, replies: Iterable[tuple[str, Reply]], failed: Iterable[str] = ()) -> None:
        """Keep replies under their keys, in place of older ones. `failed`: questions that got none."""
        rows = [_row(key, reply) for key, reply in replies]
        # One statement for all, as for the sums.
        fields = ", ".join(f"json_extract(value, '$[{n}]')" for n in range(len(_COLUMNS.split(",")) + 1))
        with self._transaction():
            into = f"INSERT OR REPLACE INTO replies (key, {_COLUMNS})"
            self._db.execute(f"{into} SELECT {fields} FROM json_each(?)", [json.dumps(rows)])
            self._put_sums((row[0], row_sum(row)) for row in rows)
            self._release([*(row[0] for row in rows), *failed])
        if self._segments is not None:
            for row in rows:
                self._segments.add(json.dumps(row).encode())
            self._segments.flush()

    def keep(self, replies: Iterable[tuple[str, Reply]]) -> None:
        """Replies as they come: they outlive this process from now on, the machine once they were `put`."""
        self.ahead(*(json.dumps(_row(key, reply)).encode() for key, reply in replies))

    def batches(self, keys: Iterable[str]) -> dict[str, str]:
        """Of those of these questions that wait for a batch, which one."""
        with self._reading():
            return dict(self._by_key("key, batch FROM batched", keys))

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
        self._add_sums("replies", [(row[0], row_sum(row)) for row in rows])
        self._db.executemany(f"INSERT OR IGNORE INTO replies (key, {_COLUMNS}) VALUES ({_MARKS})", rows)


def _row(key: str, reply: Reply) -> tuple[str, *tuple[object, ...]]:
    r = reply
    return (key, r.text, r.finish_reason, int(r.refused), r.prompt_tokens, r.completion_tokens, float(r.seconds),
            r.mode, r.attempts)  # fmt: skip


def _reply(values: list[object]) -> Reply:
    text, finish, refused, prompt, completion, seconds, mode, attempts = values
    if mode not in get_args(Mode):
        raise sqlite3.DatabaseError(f"unknown mode {mode!r}")
    return Reply(str(text), str(finish), bool(refused), prompt, completion, seconds, mode, attempts)  # type: ignore[arg-type]
