"""ZenML's MLflow components come without MLflow until something is tracked: contracts with the pinned ZenML."""

from pathlib import Path

import pytest
from support.processes import ended, python

from steps.zenml_runtime.deferred_mlflow import _BY_MLFLOW, DeferredRegistry, DeferredTracker

READY = """
import os, sys
from ops.environment import find_root, prepare
prepare(find_root())
from ops.stacks.apply import apply
from ops.stacks.files import stack_file
from steps.zenml_runtime.database import open_store
client = open_store()
os.environ["ZENML_ACTIVE_STACK_ID"] = apply(stack_file(find_root(), "local"), dict(os.environ)).id
tracker, registry = client.active_stack.experiment_tracker, client.active_stack.model_registry
client.active_stack.validate()
uri, settings = tracker.get_tracking_uri(), tracker.settings_class
print("mlflow" in sys.modules, type(tracker).__name__, type(registry).__name__)
"""
REGISTRY_FIRST = (
    READY
    + """
print(registry.list_models(), type(tracker).__name__, type(registry).__name__)
"""
)
TRACKER_FIRST = (
    READY
    + """
tracker.configure_mlflow()
print(type(tracker).__name__, tracker.get_tracking_uri() == uri, tracker.settings_class is settings)
"""
)
STANDS_IN = "False DeferredTracker DeferredRegistry"


@pytest.mark.slow
def test_a_stack_is_validated_without_mlflow_and_the_tracker_becomes_the_real_one(tmp_path: Path) -> None:
    status, said = ended(python(TRACKER_FIRST, tmp_path / "state"))
    assert status == 0, said
    assert said.splitlines()[:2] == [STANDS_IN, "MLFlowExperimentTracker True True"]


@pytest.mark.slow
def test_the_registry_finds_a_real_tracker(tmp_path: Path) -> None:
    status, said = ended(python(REGISTRY_FIRST, tmp_path / "state"))
    assert status == 0, said
    assert said.splitlines()[:2] == [STANDS_IN, "[] MLFlowExperimentTracker MLFlowModelRegistry"]


@pytest.mark.slow
def test_a_tracker_that_is_told_where_to_track_is_the_real_one_at_once(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/elsewhere.db"
    status, said = ended(python(READY, tmp_path / "state", MLFLOW_TRACKING_URI=uri))
    assert status == 0, said
    assert said.splitlines()[0] == "True MLFlowExperimentTracker DeferredRegistry"


def test_all_that_the_real_ones_do_in_a_way_of_their_own_is_known() -> None:
    from zenml.integrations.mlflow.experiment_trackers import MLFlowExperimentTracker
    from zenml.integrations.mlflow.model_registries import MLFlowModelRegistry

    answered = {"config", "settings_class", "validator"}
    assert overridden(MLFlowExperimentTracker, DeferredTracker.__base__) == answered | _BY_MLFLOW
    of_models = set(DeferredRegistry.__base__.__abstractmethods__)
    assert overridden(MLFlowModelRegistry, DeferredRegistry.__base__) <= of_models | answered


def overridden(real: type, base: type) -> set[str]:
    """What ZenML's class says in a way of its own though its base class has it."""
    return {name for name in vars(real) if hasattr(base, name) and not name.startswith("_")}
