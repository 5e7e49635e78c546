"""A SQLite file whose rows outlive this machine, where durable state lies elsewhere."""

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from steps.contracts.errors import IntegrityError
from steps.contracts.storage import writing
from steps.engines.state_store.merged import open_segments

LOCK_SECONDS = 60.0


class DurableTables(ABC):
    """A SQLite file; a context manager. Several processes may share it. Where durable state lies elsewhere, the file is
    a view of it: what other machines wrote is read when it is opened.

    Attributes:
        what: what the file is called in errors. tables: the statements that make its tables.
        synced: what is written is on disk when the write returns, also after a loss of power.
    """

    what: ClassVar[str]
    tables: ClassVar[tuple[str, ...]]
    synced: ClassVar[bool] = True

    def __init__(self, file: Path) -> None:
        self.file = file
        with writing(file):
            file.parent.mkdir(parents=True, exist_ok=True)
        with self._reading():
            self._db = sqlite3.connect(file, timeout=LOCK_SECONDS, isolation_level=None)
            if self.synced:
                self._db.execute("PRAGMA synchronous=FULL")
            for table in self.tables:
                self._db.execute(table)
            self._segments = open_segments(file, self._db, self._merge)

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
            self._db.close()

    @abstractmethod
    def _merge(self, lines: list[bytes]) -> None:
        """Add what other machines wrote."""

    def _reading(self) -> AbstractContextManager[None]:
        """SQLite's refusals as errors of ours."""
        return reading(self.file, self.what)


@contextmanager
def reading(file: Path, what: str) -> Iterator[None]:
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
