"""The active stack's MLflow: where it tracks, its database file, and runs of dead processes."""

import os
import re
from collections.abc import Sequence
from typing import Any

from zenml.client import Client

from steps.engines.tracking.database import make_database


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


def _with_uri(config: Any, named: str | None) -> Any:
    return config if config.tracking_uri or not named else config.model_copy(update={"tracking_uri": named})


def _tracker() -> Any:
    """The stack's MLflow tracker; None without one."""
    tracker = Client().active_stack.experiment_tracker
    return tracker if tracker is not None and tracker.flavor == "mlflow" else None


def end_tracked_runs(run_name: str, uris: Sequence[str]) -> list[str]:
    """Mark MLflow's runs of that name that are called running as killed. Returns why it couldn't, where it couldn't."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    quoted = run_name.replace("'", "")
    why = []
    for uri in uris:
        client = MlflowClient(uri)
        try:
            experiments = [e.experiment_id for e in client.search_experiments()]
            wanted = f"attributes.run_name = '{quoted}' and attributes.status = 'RUNNING'"
            for run in client.search_runs(experiments, wanted):
                # Phases of training have runs of their own below it.
                below = f"tags.`mlflow.parentRunId` = '{run.info.run_id}' and attributes.status = 'RUNNING'"
                for one in (*client.search_runs(experiments, below), run):
                    client.set_terminated(one.info.run_id, "KILLED")
        except MlflowException as e:
            why.append(f"{without_secret(uri)}: {without_secret(str(e)).splitlines()[0][:200]}")
    return why


def without_secret(text: str) -> str:
    """The text with user and password taken out of every URL in it."""
    return re.sub(r"(://)[^/\s@]*@", r"\1", text)
