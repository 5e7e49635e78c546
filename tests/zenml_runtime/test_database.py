"""Making ZenML's and MLflow's databases: killed in the middle, by many at once, cut off before this code knew how."""

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import zenml
from support.processes import command, ended, killing_at, python
from zenml.constants import ENV_ZENML_DISABLE_DATABASE_MIGRATION

from steps.contracts.errors import IntegrityError
from steps.zenml_runtime import database

START = """
import os
# A test of this process may have set it.
os.environ.pop("NUMBA_CACHE_DIR", None)
from ops.environment import find_root, prepare
prepare(find_root())
from ops.stacks.apply import apply
from ops.stacks.files import stack_file
from steps.zenml_runtime.database import open_store, starting
from steps.zenml_runtime.tracker import prepare_tracker, tracking_uri
with starting():
    open_store()
    os.environ["ZENML_ACTIVE_STACK_ID"] = apply(stack_file(find_root(), "local"), dict(os.environ)).id
    prepare_tracker()
import mlflow
mlflow.set_tracking_uri(tracking_uri())
assert [e.name for e in mlflow.search_experiments()] == ["Default"]
from zenml.client import Client
assert Client().active_stack.name == "local"
# Compiled kernels stay where nobody else may write.
assert "NUMBA_CACHE_DIR" not in os.environ
"""


def zenml_file(state: Path) -> Path:
    return state / "zenml" / "local_stores" / "default_zen_store" / "zenml.db"


def started(state: Path) -> None:
    status, said = ended(python(START, state))
    assert status == 0, said


PLACES = {
    "tables are made": "zenml.zen_stores.migrations.alembic:Alembic.stamp",
    "stamped, no flavors": "zenml.stack.flavor_registry:FlavorRegistry.register_flavors",
    "no default stack": "zenml.zen_stores.sql_zen_store:SqlZenStore._get_or_create_default_stack",
    "before it is put in place": "steps.zenml_runtime.database:closing",
    "MLflow's migrations": "mlflow.store.db.utils:_upgrade_db",
    "MLflow's default experiment": "mlflow.store.tracking.sqlalchemy_store:SqlAlchemyStore._create_default_experiment",
}


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_start_that_is_killed_is_made_good_by_the_next(tmp_path: Path, place: str) -> None:
    status, said = ended(python(killing_at(PLACES[place]) + START, tmp_path))
    assert status == -signal.SIGKILL, said
    started(tmp_path)


def cut_off(state: Path, runs: int = 0) -> Path:
    """What a first start left when it was killed while it made the database in place: tables and no version."""
    file = zenml_file(state)
    file.parent.mkdir(parents=True)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE stack (id TEXT)")
        connection.execute("CREATE TABLE pipeline_run (id TEXT)")
        connection.executemany("INSERT INTO pipeline_run VALUES (?)", [[str(i)] for i in range(runs)])
    return file


@pytest.mark.slow
def test_databases_cut_off_in_place_are_made_anew(tmp_path: Path) -> None:
    cut_off(tmp_path)
    (tmp_path / "artifacts").mkdir()
    with closing(sqlite3.connect(tmp_path / "artifacts" / "mlflow.db")) as connection, connection:
        connection.execute("CREATE TABLE experiments (experiment_id INTEGER)")
    started(tmp_path)


def test_cut_off_database_with_runs_is_left_alone(tmp_path: Path) -> None:
    file = cut_off(tmp_path, runs=2)
    before = file.read_bytes()
    with pytest.raises(IntegrityError, match="2 runs but no version"):
        database._is_whole(file)
    assert file.read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize(("before", "starts"), [("empty", 8), ("cut off", 4), ("warm", 8)])
def test_starts_at_once(tmp_path: Path, before: str, starts: int) -> None:
    if before == "cut off":
        cut_off(tmp_path)
    if before == "warm":
        started(tmp_path)
    for status, said in [ended(p) for p in [python(START, tmp_path) for _ in range(starts)]]:
        assert status == 0, said


@pytest.mark.slow
def test_a_command_ends_with_its_store_closed_and_without_a_last_look_for_garbage(tmp_path: Path) -> None:
    """A database that the system closes leaves its log beside it, and the next command reads both."""
    frozen = "import atexit, gc\natexit.register(lambda: print('frozen', gc.get_freeze_count() > 1_000))"
    status, said = ended(python(command("runs", "--sync", before=frozen), tmp_path))
    assert status == 0 and "frozen True" in said, said
    assert zenml_file(tmp_path).is_file() and not zenml_file(tmp_path).with_name("zenml.db-wal").exists()


@pytest.mark.parametrize(("version", "spared"), [(zenml.__version__, True), ("0.80.0", False)])
def test_changes_are_looked_for_in_an_older_database_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, spared: bool
) -> None:
    monkeypatch.delenv(ENV_ZENML_DISABLE_DATABASE_MIGRATION, raising=False)
    with closing(sqlite3.connect(tmp_path / "zenml.db")) as connection, connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES (?)", [version])
    with database._unchanged(tmp_path / "zenml.db"):
        assert (os.environ.get(ENV_ZENML_DISABLE_DATABASE_MIGRATION) == "true") is spared
    assert ENV_ZENML_DISABLE_DATABASE_MIGRATION not in os.environ


def test_configuration_files_are_never_seen_half_written(tmp_path: Path) -> None:
    from zenml.utils import yaml_utils

    database._write_configurations_whole()
    file = tmp_path / "config.yaml"
    yaml_utils.write_yaml(str(file), {"a": 1})
    before = file.open()
    yaml_utils.write_yaml(str(file), {"a": 2})
    with before:
        assert before.read() == "a: 1\n"
    assert file.read_text() == "a: 2\n"
    assert [p.name for p in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize(
    ("url", "kind", "file"),
    [
        ("sqlite:////state/zenml.db", "sql", Path("/state/zenml.db")),
        ("mysql://user:word@127.0.0.1:3306/zenml", "sql", None),
        ("https://zenml.example", "rest", None),
    ],
)
def test_a_store_is_ours_alone_when_it_is_a_file(
    monkeypatch: pytest.MonkeyPatch, url: str, kind: str, file: Path | None
) -> None:
    from zenml.config.global_config import GlobalConfiguration
    from zenml.config.store_config import StoreConfiguration

    from steps.zenml_runtime.database import local_database

    # As ZenML reads it from its file, in every process but the first.
    read = StoreConfiguration(type=kind, url=url)
    monkeypatch.setattr(GlobalConfiguration, "store_configuration", property(lambda _: read))
    assert local_database() == file
