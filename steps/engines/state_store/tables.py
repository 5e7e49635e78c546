"""A SQLite file whose rows outlive this machine, where durable state lies elsewhere."""

import json
import sqlite3
import threading
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from steps.contracts.errors import IntegrityError
from steps.contracts.storage import writing
from steps.engines.state_store.journal import Journal, last_sign, take_over
from steps.engines.state_store.merged import open_segments

LOCK_SECONDS = 60.0
# Chosen: below SQLite's oldest limit of 999 parameters.
KEYS_AT_ONCE = 500

# Sums of rows, since SQLite has none of its bytes. Rows of older files have none.
SUMS = "CREATE TABLE IF NOT EXISTS sums (key TEXT PRIMARY KEY, sum INTEGER NOT NULL) WITHOUT ROWID"
_PAIRS = "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)"


def row_sum(row: Sequence[object]) -> int:
    """Of a row's values but its floats: where a machine has no long double, SQLite may read their last bit otherwise
    than Python wrote it.
    """
    values = [zlib.crc32(v) if isinstance(v, bytes) else v for v in row if not isinstance(v, float)]
    return zlib.crc32(json.dumps(values).encode())


class DurableTables(ABC):
    """A SQLite file; a context manager. Several processes may share it. Where durable state lies elsewhere, the file is
    a view of it: what other machines wrote is read when it is opened. Threads of one process take turns.

    Attributes:
        what: what the file is called in errors. tables: the statements that make its tables.
        synced: what is written is on disk when the write returns, also after a loss of power.
        lost: what a file that is moved away means, in errors.
        damaged: keys of rows that have another sum than when they were written, as far as they were read.
    """

    what: ClassVar[str]
    lost: ClassVar[str] = "what it held is asked anew"
    tables: ClassVar[tuple[str, ...]]
    synced: ClassVar[bool] = True

    def __init__(self, file: Path) -> None:
        self.file = file
        self.damaged: set[str] = set()
        self._turn = threading.RLock()
        with writing(file):
            file.parent.mkdir(parents=True, exist_ok=True)
        with self._reading():
            self._db = sqlite3.connect(file, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False)
            # The rollback journal stays between transactions: half the time of one goes into making and removing it.
            self._db.execute("PRAGMA journal_mode=PERSIST")
            if self.synced:
                self._db.execute("PRAGMA synchronous=FULL")
            for table in self.tables:
                self._db.execute(table)
            self._segments = open_segments(file, self._db, self._merge)
        self._journal: Journal | None = None
        take_over(file, self._take_over)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """What is written is where it lasts."""
        try:
            if self._segments is not None:
                self._segments.close()
        finally:
            if self._journal is not None:
                self._journal.close()
            # The rollback journal goes, unless another process writes: then it does that.
            with suppress(sqlite3.Error):
                self._db.execute("PRAGMA busy_timeout=0")
                self._db.execute("PRAGMA journal_mode=DELETE")
            self._db.close()

    @property
    def outlives_machine(self) -> bool:
        """Whether what is written is kept elsewhere than on this machine as well."""
        return self._segments is not None

    def ahead(self, *lines: bytes) -> None:
        """Keep lines, as `_merge` reads them: they outlive this process from now on, until they are in the file."""
        self._own().add(*lines)

    def _own(self) -> Journal:
        if self._journal is None:
            self._journal = Journal(self.file)
        return self._journal

    @property
    def me(self) -> str:
        """Names this process among those that share the file, from now on; called where `ahead` is."""
        return self._own().id

    def touch(self) -> None:
        """Show the others that this process goes on."""
        if self._journal is not None:
            self._journal.touch()

    def last_sign(self, process: str) -> float | None:
        """When a process last touched or wrote; None: it has closed the file or is dead, and what it left is here."""
        take_over(self.file, self._take_over, process)
        return last_sign(self.file, process)

    def hand_over(self) -> None:
        """What was kept ahead so far is being written."""
        if self._journal is not None:
            self._journal.turn()

    def forget(self) -> None:
        """What was handed over is written."""
        if self._journal is not None:
            self._journal.forget()

    def _take_over(self, lines: list[bytes]) -> None:
        with self._transaction():
            self._merge(lines)
        if self._segments is not None:
            for line in lines:
                self._segments.add(line)

    def _by_key(self, what: str, keys: Iterable[str]) -> Iterator[Any]:
        """Rows of these keys."""
        wanted = list(dict.fromkeys(keys))
        for start in range(0, len(wanted), KEYS_AT_ONCE):
            part = wanted[start : start + KEYS_AT_ONCE]
            yield from self._db.execute(f"SELECT {what} WHERE key IN ({','.join('?' * len(part))})", part)

    def _sound(self, columns: str, table: str, keys: Iterable[str]) -> Iterator[list[Any]]:
        """Rows of these keys that are as they were written: the key, then these columns."""
        for put, *row in self._by_key(f"sum, key, {columns} FROM {table} LEFT JOIN sums USING (key)", keys):
            if put is None or put == row_sum(row):
                yield row
            else:
                self.damaged.add(row[0])

    def _put_sums(self, sums: Iterable[tuple[str, int]]) -> None:
        """Of rows that are put in place of older ones. One statement for all: SQLite lets go of the interpreter once,
        and not for every row.
        """
        self._db.execute(f"INSERT OR REPLACE INTO sums {_PAIRS}", [json.dumps(list(sums))])

    def _add_sums(self, table: str, sums: Iterable[tuple[str, int]]) -> None:
        """Of rows that are about to be added where there are none of their keys."""
        missing = f"SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM {table} WHERE key = ?)"
        self._db.executemany(f"INSERT OR IGNORE INTO sums {missing}", [(key, sum_, key) for key, sum_ in sums])

    @abstractmethod
    def _merge(self, lines: list[bytes]) -> None:
        """Add what other machines wrote."""

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """This thread's turn, and SQLite's refusals as errors of ours."""
        with self._turn, reading(self.file, self.what, self.lost):
            yield

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """As `_reading`; what is written in it is on disk when it ends, all of it or nothing."""
        with self._reading():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")


@contextmanager
def reading(file: Path, what: str, lost: str) -> Iterator[None]:
    """Turn SQLite's refusal to read or write `file`, called `what`, into an IntegrityError with the way out."""
    try:
        yield
    except sqlite3.OperationalError as e:
        if "locked" in str(e):
            raise IntegrityError(
                f"another process has held the {what} for over {LOCK_SECONDS:.0f} s", where=str(file),
                hint="wait for the other run to end, or give this one a cache folder of its own",
            ) from e  # fmt: skip
        raise _unreadable(file, what, lost, e) from e
    except sqlite3.DatabaseError as e:
        raise _unreadable(file, what, lost, e) from e


def _unreadable(file: Path, what: str, lost: str, error: sqlite3.Error) -> IntegrityError:
    return IntegrityError(
        f"the {what} can't be read or written: {error}", where=str(file),
        hint=f"free disk space or mend permissions; if the file is damaged, move it away ({lost})",
    )  # fmt: skip
