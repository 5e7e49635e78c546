"""A SQLite file of this machine that holds what all machines have added to durable lines."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

from steps.engines.state_store.segments import Segments
from steps.engines.state_store.store import store_of


def open_segments(file: Path, db: sqlite3.Connection, merge: Callable[[list[bytes]], None]) -> Segments | None:
    """The durable lines behind a SQLite file; None where the file itself is what lasts.

    `merge` is given the lines of others that the file doesn't have yet, and adds them to it.

    Raises:
        ServiceError: the durable state can't be reached. IntegrityError: it is damaged.
    """
    store = store_of(file.with_suffix(""))
    if store is None:
        return None
    segments = Segments(store)
    db.execute("CREATE TABLE IF NOT EXISTS segments (name TEXT PRIMARY KEY) WITHOUT ROWID")
    merged = {name for (name,) in db.execute("SELECT name FROM segments")}
    for name, lines in segments.read(merged):
        db.execute("BEGIN IMMEDIATE")
        merge(lines)
        db.execute("INSERT OR IGNORE INTO segments VALUES (?)", (name,))
        db.execute("COMMIT")
    return segments
