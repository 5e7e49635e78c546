"""Where runs are tracked, and what is left of killed ones there."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from support.processes import ended, python

from steps.engines.tracking.database import database_file, make_database
from steps.engines.tracking.secrets import without_secret
from steps.zenml_runtime import tracker as module
from steps.zenml_runtime.tracker import _with_uri, end_tracked_runs, sweep_tracker

WHERE = """
import os
from ops.environment import find_root, prepare
prepare(find_root())
from ops.stacks.apply import apply
from ops.stacks.files import stack_file
from steps.zenml_runtime.database import open_store
from steps.zenml_runtime.tracker import prepare_tracker, tracking_uri
open_store()
os.environ["ZENML_ACTIVE_STACK_ID"] = apply(stack_file(find_root(), "local"), dict(os.environ)).id
prepare_tracker()
from zenml.client import Client
tracker = Client().active_stack.experiment_tracker
tracker.configure_mlflow()  # what ZenML does before a step
import mlflow
print(tracking_uri(), mlflow.get_tracking_uri(), os.environ["MLFLOW_TRACKING_URI"])
"""


@pytest.mark.slow
@pytest.mark.parametrize("named", [True, False])
def test_variable_says_where_a_tracker_without_a_uri_tracks(tmp_path: Path, named: bool) -> None:
    wanted = f"sqlite:///{tmp_path}/elsewhere.db" if named else f"sqlite:///{tmp_path}/state/artifacts/mlflow.db"
    environment = {"MLFLOW_TRACKING_URI": wanted} if named else {}
    status, said = ended(python(WHERE, tmp_path / "state", **environment))
    assert status == 0, said
    assert said.splitlines()[0].split() == [wanted] * 3
    assert Path(wanted.removeprefix("sqlite:///")).is_file()
    assert (tmp_path / "state" / "artifacts" / "mlflow.db").exists() == (not named)


class Config(SimpleNamespace):
    """A component's configuration."""

    def model_copy(self, update: dict[str, object]) -> "Config":
        return Config(**(vars(self) | update))


def test_uri_of_the_tracker_itself_wins() -> None:
    assert _with_uri(Config(tracking_uri="http://own"), "http://named").tracking_uri == "http://own"
    assert _with_uri(Config(tracking_uri=None), "http://named").tracking_uri == "http://named"
    assert _with_uri(Config(tracking_uri=None), None).tracking_uri is None


@pytest.mark.slow
def test_runs_of_a_killed_process_are_ended_and_no_others(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    make_database(uri)
    client = MlflowClient(uri)
    other = client.create_experiment("other")
    ids = [
        client.create_run(experiment, run_name=name).info.run_id
        for experiment, name in (("0", "dead"), (other, "dead"), ("0", "alive"), ("0", "dead"))
    ]
    client.set_terminated(ids[3], "FINISHED")
    assert end_tracked_runs("dead", [uri]) == []
    assert [client.get_run(i).info.status for i in ids] == ["KILLED", "KILLED", "RUNNING", "FINISHED"]


@pytest.mark.slow
def test_models_that_a_killed_process_began_to_log_are_failed(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    make_database(uri)
    client = MlflowClient(uri)
    dead, alive = (client.create_run("0", run_name=name).info.run_id for name in ("dead", "alive"))
    below = client.create_run("0", run_name="phase", tags={"mlflow.parentRunId": dead}).info.run_id
    models = [client.create_logged_model("0", source_run_id=run).model_id for run in (dead, dead, below, alive)]
    client.finalize_logged_model(models[1], "READY")
    # As a start that was interrupted leaves it.
    client.set_terminated(dead, "KILLED")
    assert end_tracked_runs("dead", [uri]) == []
    assert [str(client.get_logged_model(m).status) for m in models] == ["FAILED", "READY", "FAILED", "PENDING"]
    assert [client.get_run(r).info.status for r in (dead, below, alive)] == ["KILLED", "KILLED", "RUNNING"]


def test_server_that_is_gone_is_told_without_its_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (why,) = end_tracked_runs("dead", ["http://bob:hunter2@127.0.0.1:9"])
    assert "127.0.0.1:9" in why and "hunter2" not in why


def test_only_files_are_database_files(tmp_path: Path) -> None:
    assert database_file(f"sqlite:///{tmp_path}/m.db") == tmp_path / "m.db"
    for uri in ("sqlite:///:memory:", "sqlite://", "http://host", "postgresql://host/db", "databricks"):
        assert database_file(uri) is None
    assert without_secret("http://a:b@host/x y://c@d") == "http://host/x y://d"


class Tracker:
    """A stack's component."""

    def __init__(self, flavor: str, **config: str) -> None:
        self.flavor, self._config = flavor, SimpleNamespace(tracking_uri=None, **config)
        self.experiments: list[str] = []

    @property
    def config(self) -> SimpleNamespace:
        return self._config

    def get_tracking_uri(self) -> str:
        return str(self.config.uri)

    def configure_mlflow(self) -> None:
        assert Path(self.config.uri.removeprefix("sqlite:///")).is_file()

    def _set_active_experiment(self, name: str) -> SimpleNamespace:
        self.experiments.append(name)
        return SimpleNamespace(experiment_id=7)


def of_stack(monkeypatch: pytest.MonkeyPatch, tracker: object) -> None:
    stack = SimpleNamespace(experiment_tracker=tracker)
    monkeypatch.setattr(module, "Client", lambda: SimpleNamespace(active_stack=stack))


@pytest.mark.slow
def test_a_sweep_stands_where_its_trials_are_tracked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "")
    for nothing in (None, Tracker("neptune")):
        of_stack(monkeypatch, nothing)
        assert sweep_tracker("rates-01", "rates", "train", {}, tmp_path) is None
    mlflow = Tracker("mlflow", uri=f"sqlite:///{tmp_path}/m.db")
    of_stack(monkeypatch, mlflow)
    for settings in ({}, {"experiment_tracker.mlflow": {"experiment_name": "own"}}):
        found = sweep_tracker("rates-01", "rates", "train", settings, tmp_path)
        assert found is not None
        assert found.place == {"experiment": "7"}
    assert mlflow.experiments == ["train", "own"]
    of_stack(monkeypatch, Tracker("wandb", api_key="k", project_name="p", entity=""))
    found = sweep_tracker("rates-01", "rates", "train", {}, tmp_path)
    assert found is not None
    assert found.place == {"project": "p", "folder": str(tmp_path)}


def test_zenml_makes_experiments_by_the_function_that_is_called_here() -> None:
    from zenml.integrations.mlflow.experiment_trackers import MLFlowExperimentTracker

    assert callable(MLFlowExperimentTracker._set_active_experiment)
