"""What MLflow knows of a training, for runs that take its weights from the cache."""

from collections.abc import Container, Mapping
from typing import Any

# Tag of the MLflow run that trained: digest of the weights.
TRAINED = "trained_weights"
# Tags of a run that took them over: id and name of that run.
TRAINED_IN, TRAINED_IN_NAME = "trained_in", "trained_in_run"
# Parameters of a training; those of other steps have other names.
_PREFIX, _OTHERS = "train.", frozenset({"dataset_digest", "base", "started_from"})
# MLflow's limits for one request, and characters of a parameter.
_METRICS, _PARAMS, _VALUE = 1_000, 100, 6_000
# MLflow's tag of a run that is part of another.
PARENT = "mlflow.parentRunId"


def carry_training(weights: str, settings: Mapping[str, Any], run_id: str) -> None:
    """Give a run that didn't train `weights` itself the parameters, metrics and link of the one that did.

    Where that one isn't known here (another server, an older version), it gets the settings alone.
    """
    from mlflow import MlflowClient
    from mlflow.entities import RunTag

    client = MlflowClient()
    run, trained = client.get_run(run_id), _trained(client, weights)
    if trained is not None and run_id in (trained.info.run_id, trained.data.tags.get(PARENT)):
        return
    if trained is not None:
        tags = {TRAINED_IN: trained.info.run_id, TRAINED_IN_NAME: trained.info.run_name}
        client.log_batch(run_id, tags=[RunTag(k, v) for k, v in tags.items()])
        copy_training(client, trained, run_id, run.data.params)
    else:
        params = {f"{_PREFIX}{name}": str(value)[:_VALUE] for name, value in settings.items()}
        _log_params(client, run_id, {k: v for k, v in params.items() if k not in run.data.params})


def copy_training(client: Any, trained: Any, run_id: str, there: Container[str] = ()) -> None:
    """Give a run the parameters and metrics of a training; `there`: parameters that it has."""
    params = {k: v for k, v in trained.data.params.items() if k.startswith(_PREFIX) or k in _OTHERS}
    _log_params(client, run_id, {k: v for k, v in params.items() if k not in there})
    _copy_metrics(client, trained, run_id)


def _log_params(client: Any, run_id: str, params: Mapping[str, str]) -> None:
    from mlflow.entities import Param

    new = [Param(k, v) for k, v in params.items()]
    for start in range(0, len(new), _PARAMS):
        client.log_batch(run_id, params=new[start : start + _PARAMS])


def _trained(client: Any, weights: str) -> Any:
    """The first run that trained these weights; None where there is none."""
    experiments = [e.experiment_id for e in client.search_experiments()]
    wanted = f"tags.{TRAINED} = '{weights}'"
    found = client.search_runs(experiments, wanted, order_by=["attributes.start_time ASC"], max_results=1)
    return found[0] if found else None


def _copy_metrics(client: Any, trained: Any, run_id: str) -> None:
    """Those of the training, step by step; the register step's own have a subject and a task before a slash."""
    names = [name for name in trained.data.metrics if "/" not in name]
    found = [m for name in names for m in client.get_metric_history(trained.info.run_id, name)]
    for start in range(0, len(found), _METRICS):
        client.log_batch(run_id, metrics=found[start : start + _METRICS])
