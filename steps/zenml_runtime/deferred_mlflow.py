"""ZenML's MLflow components without MLflow, until something is tracked.

ZenML makes every component of a stack to start a run on it, and imports MLflow for its tracker and its registry, with
pandas and FastAPI: measured, a fifth of what a run costs whose steps come from the cache. What stands here for them
answers what ZenML asks of every stack, and turns into the real one when anything else is asked.
"""

import os
from pathlib import Path
from typing import Any

from zenml.artifact_stores import LocalArtifactStore
from zenml.client import Client
from zenml.config.base_settings import BaseSettings
from zenml.enums import StackComponentType
from zenml.experiment_trackers.base_experiment_tracker import BaseExperimentTracker
from zenml.integrations.mlflow.flavors.mlflow_experiment_tracker_flavor import (
    MLFlowExperimentTrackerFlavor,
    MLFlowExperimentTrackerSettings,
)
from zenml.integrations.mlflow.flavors.mlflow_model_registry_flavor import MLFlowModelRegistryFlavor
from zenml.model_registries.base_model_registry import BaseModelRegistry
from zenml.stack import StackComponent, StackValidator

# What the real ones answer in a way of their own, though every component has it. A contract test knows them all.
_BY_MLFLOW = {"prepare_step_run", "get_step_run_metadata", "cleanup_step_run", "local_path"}
_FILE = "mlflow.db"


def defer_mlflow() -> None:
    """Let ZenML make stand-ins for its MLflow components. Idempotent."""
    tracker: Any = MLFlowExperimentTrackerFlavor
    tracker.implementation_class = property(lambda _: DeferredTracker)
    registry: Any = MLFlowModelRegistryFlavor
    registry.implementation_class = property(lambda _: DeferredRegistry)


def _real_tracker() -> Any:
    from zenml.integrations.mlflow.experiment_trackers import MLFlowExperimentTracker

    return MLFlowExperimentTracker


def _real_registry() -> Any:
    from zenml.integrations.mlflow.model_registries import MLFlowModelRegistry

    return MLFlowModelRegistry


class DeferredTracker(BaseExperimentTracker):
    """Stands for a tracker that tracks in a file beside the artifacts; one with a URI is the real one at once."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """This, or the real one."""
        if kwargs["config"].tracking_uri or os.environ.get("MLFLOW_TRACKING_URI"):
            return _real_tracker()(*args, **kwargs)
        return super().__new__(cls)

    def __getattribute__(self, name: str) -> Any:
        """An attribute of this, or of the real one that it is from now on."""
        if name in _BY_MLFLOW:
            _become(self, _real_tracker())
            return getattr(self, name)
        return super().__getattribute__(name)

    def __getattr__(self, name: str) -> Any:
        """What only the real one has."""
        return _of_real(self, _real_tracker(), name)

    @property
    def settings_class(self) -> type[BaseSettings]:
        """What a step may say about its tracking."""
        settings: type[BaseSettings] = MLFlowExperimentTrackerSettings
        return settings

    @property
    def validator(self) -> StackValidator:
        """The file can only lie beside artifacts that are files."""
        why = "MLflow experiment tracker without a specified tracking uri only works with a local artifact store."
        return StackValidator(
            custom_validation_function=lambda stack: (isinstance(stack.artifact_store, LocalArtifactStore), why)
        )

    def get_tracking_uri(self, as_plain_text: bool = True) -> str:
        """That of the file."""
        folder = Path(Client().active_stack.artifact_store.path).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        return f"sqlite:///{folder / _FILE}"


class DeferredRegistry(BaseModelRegistry):
    """Stands for ZenML's MLflow registry, which runs don't ask: `register` asks MLflow itself."""

    def __getattribute__(self, name: str) -> Any:
        """An attribute of this, or of the real one that it is from now on."""
        if name in _REGISTRY_METHODS:
            return _of_real(self, _real_registry(), name)
        return super().__getattribute__(name)

    def __getattr__(self, name: str) -> Any:
        """What only the real one has."""
        return _of_real(self, _real_registry(), name)

    @property
    def validator(self) -> StackValidator:
        """It works with an MLflow tracker in the stack."""
        why = "The MLflow model registry requires a MLflow experiment tracker."

        def has_tracker(stack: Any) -> tuple[bool, str]:
            return stack.experiment_tracker is not None and stack.experiment_tracker.flavor == "mlflow", why

        return StackValidator(
            required_components={StackComponentType.EXPERIMENT_TRACKER}, custom_validation_function=has_tracker
        )


_REGISTRY_METHODS = BaseModelRegistry.__abstractmethods__
# A class with abstract methods can't be made; nobody reaches these ones.
DeferredRegistry.__abstractmethods__ = frozenset()


def _of_real(component: StackComponent, real: Any, name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    if isinstance(component, DeferredRegistry):
        # It checks the class of its tracker.
        tracker = Client().active_stack.experiment_tracker
        if isinstance(tracker, DeferredTracker):
            _become(tracker, _real_tracker())
    _become(component, real)
    return getattr(component, name)


def _become(component: StackComponent, real: Any) -> None:
    """Its state is that of the common base class, so that the class is all that there is to change."""
    component.__class__ = real
