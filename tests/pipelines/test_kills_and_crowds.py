"""Whole runs under attack: killed at one named place after the other, and eight at once.

Each place is reached because the runs before it were killed at earlier ones: what those had finished is in the cache.
"""

import json
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.processes import command as command_of
from support.processes import ended, killing_at, python

pytestmark = pytest.mark.slow

CONFIG = "configs/runs/smoke.yaml"
# In the order in which a run comes to them; the number is the call at which it dies.
PLACES = (
    ("zenml.zen_stores.migrations.alembic:Alembic.stamp", 1),
    ("zenml.stack.flavor_registry:FlavorRegistry.register_flavors", 1),
    ("steps.zenml_runtime.database:closing", 1),
    ("ops.stacks.apply:_write_component", 3),
    ("ops.stacks.apply:_write_stack", 1),
    ("mlflow.store.db.utils:_upgrade_db", 1),
    ("steps.zenml_runtime.tracker:make_database", 1),
    ("steps.zenml_runtime.local_store:run_lock", 1),
    ("zenml.orchestrators.publish_utils:publish_successful_step_run", 1),
    # The base's weights; what was trained is saved further below.
    ("materializers.models:ModelFolderMaterializer.save", 1),
    ("materializers.datasets:put_once", 1),
    ("materializers.transfer:put_text", 2),
    ("steps.dedup.dedup:dedup", 1),
    ("zenml.orchestrators.publish_utils:publish_successful_step_run", 4),
    ("steps.scrub.scrub:scrub", 1),
    ("steps.contracts.ledger:LedgerWriter.close", 3),
    ("steps.leakcheck.leakcheck:leakcheck", 1),
    ("steps.train.checkpoints:mark_complete", 1),
    ("mlflow.tracking.fluent:start_run", 1),
    ("materializers.models:ModelFolderMaterializer.save", 1),
    ("steps.evaluate.evaluate:evaluate", 1),
    ("steps.register.register:_log", 1),
    ("steps.register.versions:find", 2),
    ("steps.register.versions:complete", 1),
    ("mlflow.tracking.client:MlflowClient.update_model_version", 1),
    ("zenml.orchestrators.publish_utils:publish_successful_step_run", 3),
    ("pipelines.record:page_of", 1),
    # The record of the run before, which had died, and its own.
    ("ops.sync:save_run", 1),
    ("ops.sync:save_run", 2),
)


def run(state: Path, *arguments: str, before: str = "") -> tuple[int, str]:
    return ended(python(command_of("run", CONFIG, "--json", *arguments, before=before), state), timeout=3000)


def outcome(said: str) -> dict[str, Any]:
    """Digests of datasets and weights by artifact name, and the version that was registered."""
    record = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
    assert record["status"] == "completed"
    digests = {a["name"]: a["digest"] for a in record["artifacts"] if a["type"] in ("dataset", "model")}
    assert len(digests) >= 8
    return {"digests": digests, "version": record["registration"]["version"]}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    status, said = run(tmp_path_factory.mktemp("undisturbed") / "state")
    assert status == 0, said
    return outcome(said)


def check_same(said: str, undisturbed: dict[str, Any]) -> None:
    """The same digests, and the first version; says which artifacts differ."""
    found = outcome(said)
    names = found["digests"].keys() | undisturbed["digests"].keys()
    pairs = {name: [o["digests"].get(name) for o in (undisturbed, found)] for name in sorted(names)}
    assert not {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    assert found["version"] == undisturbed["version"]


def rows(state: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(state / "artifacts" / "mlflow.db")) as connection:
        return [row[0] for row in connection.execute(query)]


def check_left(state: Path, runs: int) -> None:
    """One version, complete; nothing called running, in MLflow or in ZenML; a record of each, no lock of a dead one."""
    assert rows(state, "SELECT version FROM model_versions") == [1]
    assert all(rows(state, "SELECT description FROM model_versions"))
    assert not rows(state, "SELECT value FROM model_version_tags WHERE key = 'previous_champion'")
    assert not rows(state, "SELECT name FROM runs WHERE status = 'RUNNING'")
    # 1: pending, as MLflow's table has it.
    assert not rows(state, "SELECT name FROM logged_models WHERE status = 1")
    database = state / "zenml" / "local_stores" / "default_zen_store" / "zenml.db"
    with closing(sqlite3.connect(database)) as connection:
        statuses = [row[0] for row in connection.execute("SELECT status FROM pipeline_run")]
        stages = connection.execute(
            "SELECT r.status, v.stage FROM pipeline_run r JOIN model_version v ON v.id = r.model_version_id"
        ).fetchall()
    assert set(statuses) <= {"completed", "failed"} and statuses.count("completed") >= runs, statuses
    # ZenML's own versions, one per run.
    assert set(stages) <= {("completed", None), ("failed", "archived")}, stages
    assert len(list((state / "runs").glob("*/run.json"))) == len(statuses)
    assert not list((state / "locks").glob("*.lock"))


def test_killed_at_one_place_after_the_other_it_ends_as_if_undisturbed(
    tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    state = tmp_path / "state"
    for place, count in PLACES:
        status, said = run(state, before=killing_at(place, count))
        assert status == -signal.SIGKILL, f"{place}, call {count}, was not reached: {said[-1500:]}"
    status, said = run(state)
    assert status == 0, said
    check_same(said, undisturbed)
    check_left(state, 1)


@pytest.mark.parametrize("store", ["empty", "warm"])
def test_eight_runs_at_once(tmp_path: Path, undisturbed: dict[str, Any], store: str) -> None:
    state = tmp_path / "state"
    if store == "warm":
        assert run(state)[0] == 0
    code = command_of("run", CONFIG, "--json", *(["--no-cache"] if store == "warm" else []))
    together = [python(code, state) for _ in range(8)]
    for status, said in [ended(process, timeout=3000) for process in together]:
        assert status == 0, said
        check_same(said, undisturbed)
    check_left(state, 8)
