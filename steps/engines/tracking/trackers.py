"""What a step records, in the words of the experiment tracker that the stack has: MLflow or Weights & Biases.

ZenML starts the tracker's run before the step, and ends it afterwards; here things are added to that run.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any, Protocol

from steps.contracts.digests import canonical_json

Plain = str | int | float | bool


class Tracker(Protocol):
    """The run of a tracker that a step records in."""

    def below(self, name: str) -> AbstractContextManager[Any]:
        """A part of the run with values of its own."""

    def params(self, values: Mapping[str, Any]) -> None:
        """What was set."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Words that runs are found by."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """What was measured at an optimizer step."""


class _Mlflow:
    """Each part is a nested run."""

    def below(self, name: str) -> AbstractContextManager[Any]:
        run: AbstractContextManager[Any] = import_module("mlflow").start_run(run_name=name, nested=True)
        return run

    def params(self, values: Mapping[str, Any]) -> None:
        import_module("mlflow").log_params({k: as_plain(v) for k, v in values.items()})

    def tags(self, values: Mapping[str, str]) -> None:
        import_module("mlflow").set_tags(dict(values))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        import_module("mlflow").log_metrics(dict(values), step=step)


class _Wandb:
    """Each step has a run of its own there, of the pipeline run's group: parts need no further one."""

    def below(self, name: str) -> AbstractContextManager[Any]:
        return nullcontext()

    def params(self, values: Mapping[str, Any]) -> None:
        import_module("wandb").config.update({k: as_plain(v) for k, v in values.items()}, allow_val_change=True)

    def tags(self, values: Mapping[str, str]) -> None:
        # Its own tags are words without values.
        import_module("wandb").config.update(dict(values), allow_val_change=True)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        # Its own steps only rise, and several things are logged at one of ours.
        import_module("wandb").log({**values, "optimizer_step": step})


def tracker_of(flavor: str) -> Tracker | None:
    """The tracker of that flavour, as ZenML calls it; None: nothing can be recorded there."""
    known: Mapping[str, type[Tracker]] = {"mlflow": _Mlflow, "wandb": _Wandb}
    return known[flavor]() if flavor in known else None


def as_plain(value: Any) -> Plain:
    """Nested values as JSON text."""
    return value if isinstance(value, str | int | float | bool) else canonical_json(value)
