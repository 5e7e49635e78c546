"""The jobs that a service recorded, executed here: moto's SageMaker accepts a pipeline and runs nothing of it."""

import json
import sys
from dataclasses import dataclass
from typing import Any

import boto3
from support import pods


@dataclass(frozen=True)
class Pipeline:
    """A pipeline as SageMaker has it: its definition, and the execution that was asked for."""

    steps: list[dict[str, Any]]
    execution: str


def newest_pipeline() -> Pipeline:
    """By the environment's credentials."""
    service = boto3.client("sagemaker")
    known = service.list_pipelines(SortBy="CreationTime", SortOrder="Descending")["PipelineSummaries"]
    name = max(known, key=lambda p: p["CreationTime"])["PipelineName"]
    definition = json.loads(service.describe_pipeline(PipelineName=name)["PipelineDefinition"])
    executions = service.list_pipeline_executions(PipelineName=name)["PipelineExecutionSummaries"]
    return Pipeline(definition["Steps"], executions[0]["PipelineExecutionArn"])


def execute(pipeline: Pipeline, python: str = sys.executable) -> dict[str, str]:
    """Step after step, as SageMaker would: what depends on a failed one is left out. Returns output of failed steps."""
    failed: dict[str, str] = {}
    for step in pipeline.steps:
        if failed.keys() & set(step.get("DependsOn", ())):
            failed[step["Name"]] = "left out"
            continue
        job = step["Arguments"]
        entry = [
            *job["AppSpecification"]["ContainerEntrypoint"],
            *job["AppSpecification"].get("ContainerArguments", []),
        ]
        said = {k: v if isinstance(v, str) else pipeline.execution for k, v in job["Environment"].items()}
        assert entry[0] == "python"
        done = pods.bare(entry[1:], said, python)
        if done.returncode:
            failed[step["Name"]] = done.stdout + done.stderr
    return failed
