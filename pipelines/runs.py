"""The three pipelines as ZenML knows them."""

from typing import Any

from zenml import pipeline
from zenml.client import Client
from zenml.enums import ExecutionMode

from pipelines.config import RunConfig
from pipelines.curate import curated
from pipelines.finetune import finetuned
from pipelines.inputs import Inputs


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def curate(config: RunConfig, inputs: Inputs) -> None:
    """Sources to dataset version."""
    curated(config, inputs)


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def finetune(config: RunConfig, inputs: Inputs, dataset_version: str) -> None:
    """Dataset version (id of its ZenML artifact version) to registered model."""
    dataset: Any = Client().get_artifact_version(dataset_version)
    finetuned(config, inputs, dataset, [])


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def end_to_end(config: RunConfig, inputs: Inputs) -> None:
    """Sources to registered model."""
    done = curated(config, inputs)
    finetuned(config, inputs, done.dataset, done.reports)
