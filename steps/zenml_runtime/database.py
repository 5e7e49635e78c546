"""ZenML's store on this machine: made whole by one process, opened by one process at a time."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any

import zenml
from zenml.client import Client
from zenml.config.global_config import GlobalConfiguration
from zenml.constants import ENV_ZENML_DISABLE_DATABASE_MIGRATION
from zenml.enums import StoreType
from zenml.utils import io_utils
from zenml.zen_stores.secrets_stores.sql_secrets_store import SqlSecretsStoreConfiguration
from zenml.zen_stores.sql_zen_store import SqlZenStore, SqlZenStoreConfiguration

from steps.contracts.errors import ConfigError, IntegrityError
from steps.contracts.locks import locked, make_once
from steps.contracts.storage import write_whole
from steps.engines.imports.absent import absent
from steps.engines.progress.progress import say
from steps.zenml_runtime.deferred_mlflow import defer_mlflow
from steps.zenml_runtime.remote_store import check_store
from steps.zenml_runtime.state import state_folder

# In the state folder: what ZenML's secrets are encrypted with.
_KEY_FILE = "secrets.key"
_SQLITE = "sqlite:///"


@contextmanager
def starting() -> Iterator[None]:
    """Held while a process makes the store, its stack and its tracker ready: the others wait for some seconds.

    Migrations, ZenML's own registrations and ours look first and write then, so that two at once clash.
    """
    with locked(state_folder() / "locks" / "start", on_wait=_say_waiting):
        yield


def _say_waiting() -> None:
    say("another command of this state folder is getting ready; this one waits for it")


def open_store() -> Client:
    """ZenML's client, on a store that is whole.

    Raises:
        IntegrityError: the database was cut off while it was made, and holds runs all the same.
        ConfigError: it is of another version of ZenML. ServiceError: a server doesn't answer, or refuses.
    """
    _write_configurations_whole()
    defer_mlflow()
    if (file := local_database()) is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        make_once(file, _make_database, _is_whole)
        _check_version(file)
        with _unchanged(file):
            _encrypt_secrets(file)
            _ = Client().zen_store
    else:
        check_store()
    return Client()


@contextmanager
def _unchanged(file: Path) -> Iterator[None]:
    """Within, ZenML opens a database that needs no change without reading all changes that there ever were: measured,
    0.2 CPU seconds of every process.
    """
    name = ENV_ZENML_DISABLE_DATABASE_MIGRATION
    if name in os.environ or _versions(file) != [zenml.__version__]:
        yield
        return
    os.environ[name] = "true"
    try:
        yield
    finally:
        del os.environ[name]


def close_store() -> None:
    """Close the database of ZenML's store, where this process has opened one; it opens again when it is asked."""
    # Not `GlobalConfiguration()`, which makes one where it failed before, and writes.
    configuration = GlobalConfiguration.get_instance()
    store = configuration._zen_store if configuration is not None else None
    if isinstance(store, SqlZenStore):
        store.engine.dispose()


def local_database() -> Path | None:
    """The file that ZenML's store is; None where it is a server's, which others may use as well."""
    config = GlobalConfiguration().store_configuration
    # What was read from a file or the environment is of no class of its own: its type and URL are all that tells.
    if config.type != StoreType.SQL or not config.url.startswith(_SQLITE):
        return None
    return Path(config.url.removeprefix(_SQLITE))


def _make_database(file: Path) -> None:
    """Write-ahead mode stays in the file: measured a third less time per step."""
    # It lists ZenML's integrations, one of which would send numba's compiled kernels to /tmp (see safety.harden).
    with absent("numba"):
        store = SqlZenStore(config=SqlZenStoreConfiguration(url=f"sqlite:///{file}"))
    store.engine.dispose()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def _encrypt_secrets(database: Path) -> None:
    """Let ZenML encrypt secrets in its local store, where it would only encode them, with a key of this state folder.

    Whoever reads the folder reads the key (ZenML keeps it in its configuration); a copy of the database alone tells
    nothing. A store that the environment names, or that holds secrets from before, is left as it is.
    """
    config = GlobalConfiguration().store_configuration
    said = any(name.startswith(("ZENML_STORE_", "ZENML_SECRETS_STORE_")) for name in os.environ)
    if said or getattr(config.secrets_store, "encryption_key", None) or _holds_secrets(database):
        return
    file = state_folder() / _KEY_FILE
    make_once(file, lambda aside: write_whole(aside, token_hex(32)))
    config.secrets_store = SqlSecretsStoreConfiguration(encryption_key=file.read_text(encoding="utf-8"))
    GlobalConfiguration().set_store(config)


def _holds_secrets(database: Path) -> bool:
    with closing(sqlite3.connect(database, timeout=60)) as connection:
        return bool(_count(connection, "secret"))


def _is_whole(file: Path) -> bool:
    """Whether ZenML can use it: stamped with a version, and knowing its flavors.

    Raises:
        IntegrityError: it can't, but there are runs in it.
    """
    with closing(sqlite3.connect(file, timeout=60)) as connection:
        if _count(connection, "alembic_version") and _count(connection, "flavor"):
            connection.execute("PRAGMA journal_mode=WAL")
            return True
        runs = _count(connection, "pipeline_run")
    if runs:
        raise IntegrityError(
            f"ZenML's database holds {runs} runs but no version: it was cut off or damaged",
            where=str(file),
            hint="restore it, or move it away: the records in `runs/` stay readable, steps run again",
        )
    return False


def _check_version(file: Path) -> None:
    """A database of an older ZenML is copied before that brings it up to date.

    Raises:
        ConfigError: it is of a ZenML that this one doesn't know.
    """
    found = _versions(file)
    if found == [zenml.__version__]:
        return
    version = ", ".join(found)
    if not set(found) <= _known_revisions():
        raise ConfigError(
            f"this database is of ZenML {version}, which {zenml.__version__} doesn't know",
            where=str(file),
            hint="use the checkout that wrote it, or another state folder (ASSAY_STATE); nothing was changed",
        )
    copy = file.with_name(f"{file.stem}-of-{version}.db")
    with closing(sqlite3.connect(file, timeout=60)) as connection, closing(sqlite3.connect(copy)) as kept:
        connection.backup(kept)
    say(f"ZenML's database is of version {version}: it is brought to {zenml.__version__}, and kept as {copy}")


def _versions(file: Path) -> list[str]:
    """What the database says of itself."""
    with closing(sqlite3.connect(file, timeout=60)) as connection:
        return [str(row[0]) for row in connection.execute("SELECT version_num FROM alembic_version")]


def _known_revisions() -> set[str]:
    """Versions of its database that the installed ZenML can start from."""
    from alembic.script import ScriptDirectory

    folder = Path(zenml.__file__).parent / "zen_stores" / "migrations"
    return {script.revision for script in ScriptDirectory(str(folder)).walk_revisions()}


def _count(connection: sqlite3.Connection, table: str) -> int:
    try:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    except sqlite3.DatabaseError as e:
        if "locked" in str(e):
            raise
        return 0  # no such table, or no database


def _write_configurations_whole() -> None:
    """ZenML rewrites its configuration files in place at every start; another process would read half of one."""
    write = io_utils.write_file_contents_as_string
    if getattr(write, "whole", False):
        return

    def whole(file_path: str, content: str) -> None:
        if "://" in file_path:
            write(file_path, content)
        else:
            write_whole(Path(file_path), content)

    marked: Any = whole
    marked.whole = True
    io_utils.write_file_contents_as_string = marked
