"""Where durable state lies and where row-wise work runs, as an infra file says it."""

from pathlib import Path

import pytest

from ops.infra import InfraConfig, load_infra
from pipelines.step_names import KNOWN_STEPS
from steps.contracts.execution import Inline
from steps.engines.execution.config import ExecutorConfig
from steps.engines.execution.processes import Processes

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("said", "uri"),
    [
        (None, None),
        ("state", "s3://bucket/runs/state"),
        ("a/b", "s3://bucket/runs/a/b"),
        ("gs://other/state", "gs://other/state"),
        ("/shared/state", "/shared/state"),
    ],
)
def test_state_is_a_url_a_folder_or_below_the_artifact_store(said: str | None, uri: str | None) -> None:
    assert InfraConfig(stack="x", state=said).state_uri("s3://bucket/runs/") == uri


def test_declared_stacks_say_where_state_lasts() -> None:
    here, s3 = (load_infra(ROOT, name, (*KNOWN_STEPS, "evaluate_step")) for name in ("local", "s3"))
    assert here.state_uri("/artifacts") is None
    assert s3.state_uri("s3://bucket/runs") == "s3://bucket/runs/state"


def test_workers_of_the_command_line_go_before_those_of_the_file() -> None:
    written = InfraConfig.model_validate({"stack": "x", "run": {"executor": {"kind": "processes", "workers": 8}}})
    assert written.with_workers(None) == written
    assert written.with_workers(3).run.executor.executor() == Processes(3)
    assert written.with_workers(1).run.executor.executor() == Inline()
    ray = InfraConfig.model_validate({"stack": "x", "run": {"executor": {"kind": "ray", "address": "auto"}}})
    assert ray.with_workers(3).run.executor == ExecutorConfig(kind="ray", workers=3, address="auto")
    assert InfraConfig(stack="x").run.executor.executor() == Inline()


def test_components_go_by_their_names_in_the_store() -> None:
    infra = InfraConfig.model_validate(
        {"stack": "x", "steps": {"train_step": {"experiment_tracker": "mlflow", "step_operator": "gpus"}}}
    )
    names = {"experiment_tracker": {"mlflow": "mlflow-5f0c"}, "step_operator": {"other": "other-1"}}
    assert infra.step_configurations(["train_step", "gate_step"], names) == {
        "train_step": {"experiment_tracker": "mlflow-5f0c", "step_operator": "gpus"}
    }
