"""The stacks and infra files that come with assay: ZenML's flavours accept them, and they say what is known of them."""

import re
import tomllib
from pathlib import Path

import pytest
from support.stack_values import environment, settings_of, steps_of
from zenml.config.resource_settings import ResourceSettings

from ops.infra import InfraConfig, load_infra, merged
from ops.stacks.checks import flavors_of, misfits
from ops.stacks.declaration import declaration
from ops.stacks.files import StackFile, declared_stacks, stack_file, variables
from pipelines.load import load_model
from pipelines.step_names import KNOWN_STEPS
from steps.zenml_runtime.database import open_store

ROOT = Path(__file__).resolve().parents[3]
STACKS = declared_stacks(ROOT)
INFRA = sorted(p.stem for p in (ROOT / "configs" / "infra").glob("*.yaml") if not p.stem.startswith("_"))
STEPS = steps_of()


def read(name: str) -> StackFile:
    return load_model(StackFile, stack_file(ROOT, name))


def test_every_kind_of_stack_is_there() -> None:
    assert set(STACKS) >= {
        "local", "local-parallel", "local-docker", "s3", "blob", "gcs", "server", "airflow", "kubernetes",
        "aws", "gcp", "azure", "databricks",
    }  # fmt: skip
    assert {load_infra(ROOT, name).stack for name in INFRA} == set(STACKS)


@pytest.mark.parametrize("name", STACKS)
def test_zenml_accepts_its_configuration_and_no_secret_is_in_it(name: str) -> None:
    open_store()
    said = declaration(stack_file(ROOT, name), environment(read(name)), shared=True, libraries=False)
    assert len(said.components) == sum(len(components) for components in read(name).components.values())
    for component in said.components:
        for key in component.secrets:
            reference = f"{{{{{component.secret}.{key}}}}}"
            assert reference == component.configuration.get(key, reference)
        assert not component.secrets or component.secret in str(component.configuration)
    remote = {"aws", "azure", "databricks", "gcp", "kubernetes"}
    assert any(c.remote for c in said.components) == (name in remote)


@pytest.mark.parametrize("name", STACKS)
def test_it_states_its_evidence_and_what_shows_it(name: str) -> None:
    said = read(name)
    assert said.evidence is not None and said.proof
    for test in re.findall(r"tests/[\w/]+\.py", said.proof):
        assert (ROOT / test).is_file(), test
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(said.extras) <= set(extras)
    header = stack_file(ROOT, name).read_text().split("stack_name:")[0]
    assert "osts" in header
    # Each variable that must be set is explained.
    values = [c.configuration for components in said.components.values() for c in components]
    for variable, must in variables(values):
        assert not must or variable == "ASSAY_STATE" or variable in header, variable


@pytest.mark.parametrize("name", INFRA)
def test_infra_fits_its_stack_and_only_training_and_evaluation_hold_a_gpu(name: str) -> None:
    infra = load_infra(ROOT, name, (*KNOWN_STEPS, "evaluate_step"))
    stack = read(infra.stack)
    set_ = {**environment(stack), "ASSAY_IMAGE": "registry/assay:1"}
    assert [m.what for m in misfits(infra, stack, STEPS, set_) if m.stops] == []
    flavors = flavors_of(stack)
    holding = {step for step, said in infra.step_configurations(STEPS, flavors).items() if holds_gpu(infra, step, said)}
    elsewhere = next(iter(flavors["orchestrator"].values())) not in ("local", "processes", "local_docker")
    # Airflow's DockerOperator can't be told of one.
    wanted = {"train_step", "evaluate_base_step", "evaluate_tuned_step"} if elsewhere and name != "airflow" else set()
    assert holding == wanted


def holds_gpu(infra: InfraConfig, step: str, said: dict) -> bool:
    """By request, or by the name of a machine."""
    settings = merged(infra.settings, said.get("settings", {}))
    words = ("nvidia.com/gpu': '", "ml.g5", "'gpu_count': 1", "assay-gpu", "g5.2xlarge")
    return any(word in str(settings) for word in words)


@pytest.mark.parametrize("name", INFRA)
def test_settings_are_those_that_the_flavour_has(name: str) -> None:
    client = open_store()
    infra = load_infra(ROOT, name).filled({"ASSAY_IMAGE": "registry/assay:1"})
    flavors = flavors_of(read(infra.stack))
    looked = 0
    for step, said in infra.step_configurations(STEPS, flavors).items():
        settings = merged(infra.settings, said.get("settings", {}))
        for key, value in settings.items():
            kind = key.partition(".")[0]
            if kind == "resources":
                ResourceSettings.model_validate(value)
            elif kind in flavors:
                flavor = flavors[kind].get(said.get(kind, ""), next(iter(flavors[kind].values())))
                accepted = settings_of(client.get_flavor_by_name_and_type(name=flavor, component_type=kind))
                unknown = set(value) - set(accepted.model_fields)
                assert not unknown, f"{step}: {flavor} has no settings {unknown}"
                try:
                    accepted.model_validate(value)
                except ModuleNotFoundError as e:
                    # Only what needs the cluster's library is left to make test-stacks.
                    assert e.name == "kubernetes"
            else:
                assert kind == "docker"
            looked += 1
    assert looked > 0 or name in (
        "local",
        "local-parallel",
        "eight-gpus",
        "two-machines",
        "s3",
        "blob",
        "gcs",
        "server",
    )


def test_docs_state_the_same_evidence() -> None:
    rows = re.findall(
        r"^\| `([\w-]+)` \|.*\| (run|submitted|validated) \|$", (ROOT / "docs" / "stacks.md").read_text(), re.M
    )
    assert dict(rows) == {name: read(name).evidence for name in STACKS}
