"""Where durable state lies and where row-wise work runs, as an infra file says it."""

from pathlib import Path

import pytest

from ops.infra import InfraConfig, load_infra
from ops.stacks.checks import file_system, joining, misfits
from ops.stacks.files import StackFile
from pipelines.step_names import KNOWN_STEPS
from steps.contracts.errors import ConfigError
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
    assert infra.step_configurations(["train_step", "gate_step"], {}, names) == {
        "train_step": {"experiment_tracker": "mlflow-5f0c", "step_operator": "gpus"}
    }


CLUSTER = {
    "stack": "x",
    "timeout": 3600,
    "retry": {"max_retries": 2},
    "resources": {"cpu": 2, "memory": "4GiB"},
    "settings": {"orchestrator": {"pod_settings": {"node_selectors": {"pool": "cpu"}}}},
    "steps": {
        "train_step": {
            "step_operator": "gpus",
            "resources": {"gpu": 1, "shared_memory": "8GiB", "memory": "64GiB"},
            "retry": None,
            "settings": {"step_operator": {"pod_settings": {"node_selectors": {"pool": "gpu"}}}},
        },
        "gate_step": {"timeout": None, "resources": {"cpu": 0.5}},
    },
}
FLAVORS = {"orchestrator": {"here": "kubernetes"}, "step_operator": {"gpus": "kubernetes", "other": "sagemaker"}}


def test_what_a_step_leaves_out_holds_for_all_and_reaches_its_pod() -> None:
    infra = InfraConfig.model_validate(CLUSTER)
    told = infra.step_configurations(["train_step", "gate_step", "dedup_step"], FLAVORS)
    pod = told["train_step"]["settings"]["step_operator"]["pod_settings"]
    assert pod["node_selectors"] == {"pool": "gpu"}
    assert pod["resources"] == {
        "requests": {"cpu": "2", "memory": "64Gi", "nvidia.com/gpu": "1"},
        "limits": {"memory": "64Gi", "nvidia.com/gpu": "1"},
    }
    assert pod["volumes"] == [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}}]
    assert pod["volume_mounts"] == [{"name": "shm", "mountPath": "/dev/shm"}]
    assert told["train_step"]["extra"] == {"timeout": 3600} and "retry" not in told["train_step"]
    gate = told["gate_step"]
    assert gate["settings"]["orchestrator"]["pod_settings"]["resources"]["requests"] == {"cpu": "0.5", "memory": "4Gi"}
    assert "extra" not in gate and gate["retry"] == {"max_retries": 2, "delay": 0, "backoff": 1}
    assert "nvidia" not in str(told["dedup_step"])
    assert not list(infra.ignored(["train_step", "gate_step"], FLAVORS))


def test_which_processes_train_together_reaches_every_phase() -> None:
    infra = InfraConfig.model_validate({"stack": "x", "steps": {"train_step": {"training": {"processes": 2}}}})
    told = infra.step_configurations(["train_broad_step", "gate_step"], {})
    training = told["train_broad_step"]["extra"]["training"]
    assert (training["processes"], training["strategy"], training["nodes"]) == (2, "ddp", 1)
    assert list(told) == ["train_broad_step"]


def test_a_phase_knows_how_many_others_train_with_other_machines_after_it() -> None:
    steps = {"train_step": {"training": {"nodes": 2}}, "train_last_step": {"training": {"processes": 2}}}
    infra = InfraConfig.model_validate({"stack": "x", "steps": steps})
    told = infra.step_configurations(["train_a_step", "train_b_step", "train_last_step"], {})
    assert {step: said["extra"].get("to_come") for step, said in told.items()} == {
        "train_a_step": 1, "train_b_step": 0, "train_last_step": None,
    }  # fmt: skip


def test_what_several_machines_need_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path))
    infra = InfraConfig.model_validate({"stack": "x", "steps": {"train_step": {"training": {"nodes": 3}}}})
    monkeypatch.setattr("ops.stacks.checks.file_system", lambda folder: "ext4")
    (told,) = joining(infra, ["train_a_step", "train_b_step", "gate_step"])
    assert (told.stops, told.place) == (False, ("steps", "train_step", "training", "nodes"))
    assert told.what == (
        "3 machines train together: run `assay join` on 2 others, where the state folder must be the same one by the"
        f" same path ({tmp_path}, on ext4, which is one machine's alone unless exported)"
    )
    monkeypatch.setattr("ops.stacks.checks.file_system", lambda folder: "nfs4")
    assert next(joining(infra, ["train_step"])).what.endswith(f"by the same path ({tmp_path})")
    assert file_system(Path("/proc/self")) in ("proc", None)


@pytest.mark.parametrize(
    ("flavor", "settings", "ignored"),
    [
        ("local", {}, ("resources.cpu, resources.gpu, resources.memory, resources.shared_memory: steps have what",)),
        (
            "local_docker",
            {"orchestrator": {"run_args": {
                "nano_cpus": 1_500_000_000, "mem_limit": 2_000_000_000, "shm_size": 1 << 30,
                "device_requests": [{"Driver": "nvidia", "Count": 2, "Capabilities": [["gpu"]]}],
            }}},
            (),
        ),
        (
            "vertex",
            {"resources": {"cpu_count": 1.5, "gpu_count": 2, "memory": "2GB"}},
            ("resources.shared_memory: not heeded", "resources.gpu: Vertex AI gives none without its kind",
             "retry after a lost machine"),
        ),
        (
            "azureml",
            {"orchestrator": {"shm_size": "1024m"}},
            ("resources.cpu, resources.gpu, resources.memory: the compute", "retry after a lost machine"),
        ),
        (
            "sagemaker",
            {"orchestrator": {"max_runtime_in_seconds": 1860}},
            ("resources.cpu, resources.gpu, resources.memory, resources.shared_memory: settings.orchestrator.instance",
             "retry after a lost machine"),
        ),
        (
            "databricks",
            {"orchestrator": {"task_timeout_seconds": 1860}},
            ("resources.cpu, resources.gpu, resources.memory, resources.shared_memory: node_type_id",
             "retry after a lost machine"),
        ),
        (
            "airflow",
            {"orchestrator": {"operator_args": {"cpus": 1.5, "mem_limit": 2_000_000_000, "shm_size": 1 << 30}}},
            ("resources.gpu: not heeded; use operator: ", "retry after a lost machine"),
        ),
        ("kubernetes", None, ()),
    ],
)  # fmt: skip
def test_each_orchestrator_is_told_in_its_words_and_what_it_ignores_is_said(
    flavor: str, settings: dict | None, ignored: tuple[str, ...]
) -> None:
    resources = {"cpu": 1.5, "gpu": 2, "memory": "2GB", "shared_memory": "1GiB"}
    infra = InfraConfig.model_validate({"stack": "x", "timeout": 60, "retry": {}, "resources": resources})
    flavors = {"orchestrator": {"here": flavor}}
    (told,) = infra.step_configurations(["train_step"], flavors).values()
    if settings is not None:
        assert told.get("settings", {}) == settings
    found = list(infra.ignored(["train_step"], flavors))
    assert len(found) == len(ignored)
    assert all(f.startswith(f"train_step: {start}") for f, start in zip(found, ignored, strict=True)), found


def write(root: Path, **files: str) -> None:
    folder = root / "configs" / "infra"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


def test_a_file_that_extends_another_says_only_what_differs(tmp_path: Path) -> None:
    write(
        tmp_path,
        base="stack: b\ntimeout: 60\nsettings: {docker: {a: 1, b: [1, 2]}}\n"
        "steps: {train_step: {retry: {}, timeout: 5}}\n",
        middle="extends: base\nstack: m\nsettings: {docker: {b: [3]}}\n",
        top="extends: middle\nsteps:\n  train_step: {timeout: 9}\n",
    )
    infra = load_infra(tmp_path, "top")
    assert (infra.stack, infra.timeout, infra.settings) == ("m", 60, {"docker": {"a": 1, "b": [3]}})
    assert (infra.of("train_step").timeout, infra.of("train_step").retry is not None) == (9, True)


def test_mistakes_lead_to_the_file_that_makes_them(tmp_path: Path) -> None:
    write(
        tmp_path,
        base="stack: b\ntimeout: 0\nretires: {}\n",
        top="extends: base\nresources: {memory: much}\n",
        around="extends: other\nstack: x\n",
        other="extends: around\n",
        lost="extends: nowhere\nstack: x\n",
    )
    with pytest.raises(ConfigError) as caught:
        load_infra(tmp_path, "top")
    said = str(caught.value)
    assert "top.yaml: 3 mistakes" in said
    for part in ("base.yaml line 2: timeout: ", "base.yaml line 3: retires: unknown key", "line 2: resources.memory: "):
        assert part in said
    with pytest.raises(ConfigError, match="extends goes round: around → other → around"):
        load_infra(tmp_path, "around")
    with pytest.raises(FileNotFoundError, match="no infra file 'nowhere'"):
        load_infra(tmp_path, "lost")


def test_what_a_stack_lacks_is_told_with_the_file_and_line_that_ask_for_it(tmp_path: Path) -> None:
    write(
        tmp_path,
        base="stack: b\nsteps:\n  evaluate_step:\n    experiment_tracker: mlflow\n",
        top="extends: base\nsteps:\n  train_step: {step_operator: gpus}\n",
    )
    infra = load_infra(tmp_path, "top")
    stack = StackFile.model_validate({"stack_name": "b", "components": {}})
    told = [infra.said_of(m.place, m.what) for m in misfits(infra, stack, ["train_step", "evaluate_base_step"], {})]
    file = tmp_path / "configs" / "infra" / "top.yaml"
    assert told == [
        f"{file}: line 3: steps.train_step.step_operator: train_step:"
        " stack 'b' has no step_operator 'gpus'; it has none",
        f"{file}: base.yaml line 4: steps.evaluate_step.experiment_tracker: evaluate_base_step:"
        " stack 'b' has no experiment_tracker 'mlflow'; it has none",
    ]


def test_what_a_stack_lacks_is_told_before_anything_runs() -> None:
    infra = InfraConfig.model_validate({
        "stack": "x", "environment": {"A": "${UNSET}", "B": "${secret:ALSO_UNSET}", "C": "${SET}", "D": "${NO:-x}"},
        "resources": {"gpu": 1},
        "steps": {"train_step": {"experiment_tracker": "mlflw", "step_operator": "gpus"}},
    })  # fmt: skip
    stack = StackFile.model_validate({
        "stack_name": "x",
        "components": {
            "orchestrator": [{"name": "here", "flavor": "local"}],
            "experiment_tracker": [{"name": "mlflow", "flavor": "mlflow"}],
        },
    })  # fmt: skip
    assert [(m.what, m.stops) for m in misfits(infra, stack, ["train_step", "gate_step"], {"SET": "1"})] == [
        ("steps need the environment variable UNSET; export UNSET=...", True),
        ("train_step: stack 'x' has no experiment_tracker 'mlflw'; did you mean 'mlflow'?", True),
        ("train_step: stack 'x' has no step_operator 'gpus'; it has none", True),
        ("train_step, gate_step: resources.gpu: steps have what this machine has", False),
    ]
