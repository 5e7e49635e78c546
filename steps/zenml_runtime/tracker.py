"""The active stack's tracker: where its MLflow tracks, its database file, runs of dead processes; sweeps."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zenml.client import Client

from steps.engines.tracking.database import make_database
from steps.engines.tracking.secrets import without_secret
from steps.engines.tracking.sweeps import TrackedSweep, tracked_sweep


def tracking_uri() -> str | None:
    """Where the active stack tracks: the URI of its tracker, else MLFLOW_TRACKING_URI; None: nowhere.

    A tracker that names no URI uses a file beside the artifacts.
    """
    tracker = _tracker()
    return str(tracker.get_tracking_uri()) if tracker is not None else os.environ.get("MLFLOW_TRACKING_URI")


def prepare_tracker() -> None:
    """Let MLFLOW_TRACKING_URI say where a tracker without a URI of its own tracks, and have its database.

    Left alone, ZenML would track in its file all the same and overwrite the variable.
    """
    tracker = _tracker()
    if tracker is None:
        return
    named = os.environ.get("MLFLOW_TRACKING_URI")
    type(tracker).config = property(lambda self: _with_uri(self._config, named))
    make_database(tracker.get_tracking_uri())


def use_tracker() -> None:
    """Let MLflow's client have the tracker's credentials, in a step that isn't bound to it."""
    tracker = _tracker()
    if tracker is not None:
        tracker.configure_mlflow()


def _with_uri(config: Any, named: str | None) -> Any:
    return config if config.tracking_uri or not named else config.model_copy(update={"tracking_uri": named})


def _tracker() -> Any:
    """The stack's MLflow tracker; None without one."""
    tracker = Client().active_stack.experiment_tracker
    return tracker if tracker is not None and tracker.flavor == "mlflow" else None


def sweep_tracker(key: str, name: str, pipeline: str, settings: Mapping[str, Any], folder: Path) -> TrackedSweep | None:
    """What stands for a sweep where its trials are tracked; None: nothing can be recorded there.

    Args:
        pipeline: of the trials. settings: ZenML's, of their tracked steps. folder: for files that wait to be sent.
    """
    tracker = Client().active_stack.experiment_tracker
    if tracker is None:
        return None
    own = {**settings.get("experiment_tracker", {}), **settings.get(f"experiment_tracker.{tracker.flavor}", {})}
    where = {"mlflow": _mlflow_experiment, "wandb": _wandb_project}.get(tracker.flavor)
    return tracked_sweep(tracker.flavor, key, name, where(tracker, own, pipeline, folder)) if where else None


def _mlflow_experiment(tracker: Any, settings: Mapping[str, Any], pipeline: str, _folder: Path) -> dict[str, str]:
    """The one that ZenML puts the trials in, made as it makes it."""
    prepare_tracker()
    tracker.configure_mlflow()
    experiment = tracker._set_active_experiment(settings.get("experiment_name") or pipeline)
    return {"experiment": str(experiment.experiment_id)}


def _wandb_project(tracker: Any, _settings: Mapping[str, Any], _pipeline: str, folder: Path) -> dict[str, str]:
    os.environ["WANDB_API_KEY"] = tracker.config.api_key
    named = {"project": tracker.config.project_name, "entity": tracker.config.entity, "folder": str(folder)}
    return {name: value for name, value in named.items() if value}


def end_tracked_runs(run_name: str, uris: Sequence[str]) -> list[str]:
    """Mark MLflow's runs of that name that are called running as killed, and models that they began to log as failed.

    Returns why it couldn't, where it couldn't.
    """
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    quoted = run_name.replace("'", "")
    why = []
    for uri in uris:
        client = MlflowClient(uri)
        try:
            experiments = [e.experiment_id for e in client.search_experiments()]
            runs = list(client.search_runs(experiments, f"attributes.run_name = '{quoted}'"))
            for run in tuple(runs):
                # Phases of training have runs of their own below it.
                runs += client.search_runs(experiments, f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")
            for run in runs:
                if run.info.status == "RUNNING":
                    client.set_terminated(run.info.run_id, "KILLED")
            # Also of those that an interrupted start has ended before.
            for run in runs:
                _fail_unfinished_models(client, run.info)
        except MlflowException as e:
            why.append(f"{without_secret(uri)}: {without_secret(str(e)).splitlines()[0][:200]}")
    return why


def _fail_unfinished_models(client: Any, run: Any) -> None:
    """Of the models that a run (its RunInfo) logged: MLflow would call those without an end pending for ever."""
    for model in client.search_logged_models([run.experiment_id], f"source_run_id = '{run.run_id}'"):
        if model.status == "PENDING":
            client.finalize_logged_model(model.model_id, "FAILED")
