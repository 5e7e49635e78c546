"""MLflow's database file, made whole by one process: its migrations take seconds, and two at once clash."""

import sqlite3
from contextlib import closing
from pathlib import Path

from steps.contracts.locks import make_once

_SQLITE = "sqlite:///"
_IN_MEMORY = ("", ":memory:")
# What somebody would miss.
_CONTENT = ("runs", "registered_models", "logged_models")


def database_file(uri: str) -> Path | None:
    """The file behind a tracking URI; None for servers, other databases and those in memory."""
    path = uri.removeprefix(_SQLITE)
    return None if path == uri or path in _IN_MEMORY else Path(path).resolve()


def make_database(uri: str) -> None:
    """Have the database behind `uri`, if it is a file. One that was cut off while it was made, and holds nothing, is
    made anew; an older one stays for MLflow to judge.
    """
    file = database_file(uri)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        make_once(file, _make, _is_whole)


def _make(file: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore(f"{_SQLITE}{file}", str(file.parent / "mlruns"))
    store.engine.dispose()


def _is_whole(file: Path) -> bool:
    with closing(sqlite3.connect(file, timeout=60)) as connection:
        if any(_rows(connection, table, "1") for table in _CONTENT):
            return True
        # Only where nothing was tracked yet: importing MLflow costs seconds.
        from mlflow.store.db.utils import _get_latest_schema_revision

        stamped = _rows(connection, "alembic_version", "version_num") == [_get_latest_schema_revision()]
        return stamped and bool(_rows(connection, "experiments", "1"))


def _rows(connection: sqlite3.Connection, table: str, column: str) -> list[object]:
    """At most two values of a column; none where there is no such table, or no database."""
    try:
        return [row[0] for row in connection.execute(f"SELECT {column} FROM {table} LIMIT 2")]
    except sqlite3.DatabaseError as e:
        if "locked" in str(e):
            raise
        return []
