"""What a declared stack may be checked with: values for its variables, steps, the settings that a flavour has."""

from typing import Any

from zenml.config.base_settings import BaseSettings
from zenml.stack.flavor import Flavor
from zenml.stack.stack_component import StackComponentConfig

from ops.stacks.files import StackFile, variables
from pipelines.step_names import KNOWN_STEPS

# Values that a flavour looks at; any word does for the others.
VALUES = {
    "ASSAY_S3_PATH": "s3://bucket/runs", "ASSAY_ARTIFACTS": "s3://bucket/runs", "ASSAY_GCS_PATH": "gs://bucket/runs",
    "ASSAY_BLOB_PATH": "az://container/runs", "ASSAY_SAGEMAKER_ROLE": "arn:aws:iam::123456789012:role/jobs",
    "ASSAY_ECR": "123456789012.dkr.ecr.eu-central-1.amazonaws.com", "MLFLOW_TRACKING_URI": "https://tracker.example",
    "ASSAY_ARTIFACT_REGISTRY": "europe-west4-docker.pkg.dev/project/images", "ASSAY_ACR": "images.azurecr.io",
    "ASSAY_KUBERNETES_INCLUSTER": "", "ASSAY_DATABRICKS_HOST": "https://dbc.example", "ASSAY_STATE": "/nowhere/state",
}  # fmt: skip


def environment(stack: StackFile) -> dict[str, str]:
    """All that a stack's file names, set."""
    values = [c.configuration for components in stack.components.values() for c in components]
    return {variable: VALUES.get(variable, "word") for variable, _ in variables(values)}


def steps_of() -> tuple[str, ...]:
    """Steps of a run that has all of them."""
    return (*(s for s in KNOWN_STEPS if s != "evaluate_step"), "evaluate_base_step", "evaluate_tuned_step")


def settings_of(flavor: Any) -> type[BaseSettings]:
    """What a step may say to a component of this flavour (FlavorResponse)."""
    config = Flavor.from_model(flavor).config_class
    return next(c for c in config.__mro__ if issubclass(c, BaseSettings) and not issubclass(c, StackComponentConfig))
