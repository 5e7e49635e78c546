"""What a step sees of its run: facts, inputs, what an earlier run kept, the experiment tracker."""

from pathlib import Path
from typing import Any

from zenml.client import Client
from zenml.steps import get_step_context
from zenml.utils import source_utils

from steps.contracts.digests import canonical_json
from steps.contracts.errors import InputNotFoundError

# Where the launcher writes, in a run's `extra`, which artifacts of an earlier run may be reused.
REUSE = "reuse"


def source_root() -> Path:
    """The folder that relative paths in a config start from."""
    return Path(source_utils.get_source_root())


def is_tracked() -> bool:
    """Whether the running step is bound to an experiment tracker (configs/infra does that, never code)."""
    return bool(get_step_context().step_run.config.experiment_tracker)


def track_params(params: dict[str, Any]) -> None:
    """Record parameters with the step's experiment tracker, if it has one. Nested values become JSON text."""
    if is_tracked():
        import mlflow

        mlflow.log_params(
            {k: v if isinstance(v, str | int | float | bool) else canonical_json(v) for k, v in params.items()}
        )


def track_metrics(step: int, metrics: dict[str, float]) -> None:
    """Record metrics at an optimizer step with the step's experiment tracker, if it has one."""
    if is_tracked():
        import mlflow

        mlflow.log_metrics(metrics, step=step)


def input_uri(name: str) -> str:
    """URI of an input artifact's folder in the artifact store."""
    found = get_step_context().inputs[name]
    return str(found[0].uri if isinstance(found, list) else found.uri)


def run_facts() -> dict[str, str]:
    """Names that lead from a registered model back to its run: ZenML run id and name, pipeline, stack, and what the
    launcher put into the run's `extra` (commit, config digest). None of it is in a cache key.
    """
    context = get_step_context()
    run = context.pipeline_run
    return {
        "zenml_run_id": str(run.id),
        "zenml_run": run.name,
        "pipeline": context.pipeline.name,
        "stack": run.stack.name if run.stack else "",
        **{name: str(value) for name, value in run.config.extra.items() if name != REUSE},
    }


def earlier(name: str) -> Any:
    """The artifact of that name from the run that this one builds on (config key `reuse`); None without one.

    It is named in the run's `extra`, which is in no cache key: what is kept between runs decides what a run costs,
    never what it finds, so that an identical run is served from the cache whatever it could have reused.

    Raises:
        InputNotFoundError: its files are gone. IntegrityError: they are damaged.
    """
    version = get_step_context().pipeline_run.config.extra.get(REUSE, {}).get(name)
    if not version:
        return None
    artifact = Client().get_artifact_version(version)
    try:
        return artifact.load()
    except FileNotFoundError as e:
        raise InputNotFoundError(
            f"what an earlier run kept is gone ({name})",
            where=artifact.uri,
            hint="run once with `--set reuse=null`: everything is computed and kept anew",
        ) from e
