"""What reaches the processes of steps, and by which way."""

import pytest
from zenml.client import Client
from zenml.constants import ENV_ZENML_DISABLE_DATABASE_MIGRATION

from ops.environment import SWITCHES
from ops.infra import InfraConfig
from ops.step_environment import log_switches, pipeline_options, step_options
from steps.contracts.errors import ConfigError


@pytest.fixture
def secret():
    Client().create_secret("team-hub", {"HF_TOKEN": "t"})
    yield "team-hub"
    Client().delete_secret("team-hub")


def test_steps_elsewhere_get_the_switches_and_the_same_ones_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    infra = InfraConfig(stack="x", environment={"A": "1"})
    told = pipeline_options(infra, {}, elsewhere=True)
    # They are in ZenML's cache key: what a user has set, or --json, must not run everything again.
    monkeypatch.setenv("ASSAY_PROGRESS", "off")
    monkeypatch.setenv("TQDM_DISABLE", "0")
    assert told == pipeline_options(infra, {}, elsewhere=True)
    assert told["environment"] == {**SWITCHES, ENV_ZENML_DISABLE_DATABASE_MIGRATION: "true", "A": "1"}
    assert told["environment"]["ZENML_ANALYTICS_OPT_IN"] == "false"
    assert (told["enable_step_logs"], told["enable_pipeline_logs"]) == (False, False)
    assert pipeline_options(infra, {}, elsewhere=False)["environment"] == {"A": "1"}


def test_logs_reach_the_bucket_only_when_asked_and_silence_is_passed_on() -> None:
    infra = InfraConfig.model_validate({"stack": "x", "run": {"enable_step_logs": True, "progress": False}})
    told = pipeline_options(infra, {}, elsewhere=True)
    assert told["enable_step_logs"] and told["environment"]["ZENML_DISABLE_STEP_LOGS_STORAGE"] == "false"
    assert told["environment"]["ASSAY_PROGRESS"] == "off"
    assert log_switches(False)["ZENML_DISABLE_STEP_LOGS_STORAGE"] == "true"


def test_secrets_are_passed_by_name_and_their_values_are_renewed(secret: str) -> None:
    infra = InfraConfig.model_validate({
        "stack": "renew", "secrets": [secret],
        "steps": {"judge_step": {"environment": {"KEY": "${secret:MINE}", "NONE": "${secret:UNSET:-}"}}},
    })  # fmt: skip
    assert pipeline_options(infra, {}, elsewhere=False)["secrets"] == [secret]
    for value in ("old", "new"):
        told = step_options(infra, "judge_step", {"MINE": value})
        assert told == {"secrets": ["assay-step-renew-judge_step"]}
        assert Client().get_secret("assay-step-renew-judge_step").secret_values == {"KEY": value}
    # A launcher that a clock starts has no such variable: what is stored is kept.
    assert step_options(infra, "judge_step", {}) == {"secrets": ["assay-step-renew-judge_step"]}
    assert Client().get_secret("assay-step-renew-judge_step").secret_values == {"KEY": "new"}
    assert step_options(infra, "gate_step", {}) == {}
    Client().delete_secret("assay-step-renew-judge_step")


def test_what_is_missing_is_told_before_a_run() -> None:
    with pytest.raises(ConfigError, match="ZenML has no secret 'nobody'"):
        pipeline_options(InfraConfig(stack="x", secrets=("nobody",)), {}, elsewhere=False)
    with pytest.raises(ConfigError, match="steps are to have A, for which the environment variable UNSET"):
        pipeline_options(InfraConfig(stack="x", environment={"A": "${UNSET}"}), {}, elsewhere=False)
    with pytest.raises(ConfigError, match="steps are to have A, for which the environment variable UNSET"):
        pipeline_options(InfraConfig(stack="x", environment={"A": "${secret:UNSET}"}), {}, elsewhere=False)
