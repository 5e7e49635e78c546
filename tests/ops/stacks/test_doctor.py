"""What keeps a stack from being used is found before anything is submitted, all at once."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from support.object_store import forget_file_systems, s3, s3_server  # noqa: F401 - fixtures
from zenml.client import Client

from ops.commands.doctor import Check
from ops.infra import InfraConfig
from ops.stacks.doctor import examine
from ops.stacks.usable import check_usable, store_trouble, within
from steps.contracts.errors import ConfigError, ServiceError

LOCAL = """
stack_name: NAME
components:
  orchestrator: [{name: NAME-here, flavor: local}]
  artifact_store: [{name: NAME-files, flavor: local, configuration: {path: "${HERE}"}}]
"""


def declare(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text.replace("NAME", name))
    return path


def found(checks: list[Check], status: str) -> dict[str, list[str]]:
    told: dict[str, list[str]] = {}
    for check in checks:
        if check.status == status:
            told.setdefault(check.name, []).append(check.found)
    return told


def test_a_stack_that_is_whole_has_nothing_missing_and_nothing_is_left_behind(tmp_path: Path) -> None:
    store = tmp_path / "files"
    store.mkdir()
    path = declare(tmp_path, "whole", LOCAL)
    checks = examine(path, InfraConfig(stack="whole"), {"HERE": str(store)})
    assert found(checks, "missing") == {} == found(checks, "optional")
    assert found(checks, "ok")["artifact store"] == [f"{store}: written, read back, deleted"]
    assert "assay scheduler" in found(checks, "ok")["schedules"][0]
    assert list(store.iterdir()) == [] and not Client().list_stacks(name="equals:whole").items


def test_everything_that_is_missing_is_told_at_once(tmp_path: Path) -> None:
    path = declare(tmp_path, "poor", LOCAL.replace("flavor: local}]\n  artifact", "flavor: sagemaker}]\n  artifact"))
    path.write_text(path.read_text() + "extras: [aws]\n")
    infra = InfraConfig.model_validate({
        "stack": "poor", "environment": {"A": "${UNSET}"}, "resources": {"shared_memory": "1GiB"},
        "steps": {"train_step": {"step_operator": "gpus"}},
    })  # fmt: skip
    told = found(examine(path, infra, {}), "missing")
    assert told["extra aws"] == ["not installed"]
    assert told["infra file"] == [
        "steps need the environment variable UNSET; export UNSET=...",
        "train_step: stack 'poor' has no step_operator 'gpus'; it has none",
    ]
    assert len(told["file"]) == 3 and "execution_role: Field required" in told["file"][1]
    assert "the library of flavour 'sagemaker' isn't installed" in told["file"][0]
    assert "line 5: components.artifact_store.0.configuration.path: the environment variable HERE" in told["file"][2]


def test_servers_that_do_not_answer_and_stores_that_steps_cannot_reach(tmp_path: Path) -> None:
    path = declare(
        tmp_path,
        "far",
        LOCAL
        + """
  experiment_tracker:
    - {name: NAME-t, flavor: mlflow, configuration: {tracking_uri: "http://127.0.0.1:9", tracking_token: "${T:-x}"}}
  container_registry: [{name: NAME-r, flavor: default, configuration: {uri: "127.0.0.1:9"}}]
  step_operator: [{name: NAME-o, flavor: databricks, configuration: {host: "https://x.example"}}]
""",
    )
    told = found(examine(path, None, {"HERE": str(tmp_path)}), "missing")
    assert set(told) == {"ZenML server", "composition", "MLflow server", "container registry"}
    assert "http://127.0.0.1:9/health: URLError" in told["MLflow server"][0]
    assert "127.0.0.1:9: ConnectionRefusedError" in told["container registry"][0]
    assert "can't be reached" in told["ZenML server"][0]


class Files:
    """An artifact store in memory that refuses what it is told to refuse."""

    path = "mem://store"

    def __init__(self, refuses: str = "", changes: bool = False) -> None:
        self.refuses, self.changes = refuses, changes
        self.held: dict[str, bytes] = {}
        self.config = SimpleNamespace(is_local=False)

    def open(self, path: str, mode: str):
        if self.refuses == ("write" if "w" in mode else "read"):
            raise PermissionError("AccessDenied")
        return _File(self, path)

    def remove(self, path: str) -> None:
        if self.refuses == "delete":
            raise PermissionError("AccessDenied")
        del self.held[path]


class _File:
    def __init__(self, files: Files, path: str) -> None:
        self.files, self.path = files, path

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def write(self, data: bytes) -> None:
        self.files.held[self.path] = data

    def read(self) -> bytes:
        return b"" if self.files.changes else self.files.held[self.path]


@pytest.mark.parametrize(
    ("files", "why"),
    [
        (Files(), ""),
        (Files("write"), "nothing can be written: PermissionError: AccessDenied"),
        (Files("read"), "what was written can't be read (mem://store/.assay-"),
        (Files("delete"), "what was written can't be deleted (mem://store/.assay-"),
        (Files(changes=True), "what was written comes back otherwise"),
    ],
)
def test_a_store_is_tried_by_writing_reading_and_deleting(files: Files, why: str) -> None:
    assert store_trouble(files).startswith(why) and bool(store_trouble(files)) == bool(why)
    assert not files.held or why


def stack(**parts: object) -> SimpleNamespace:
    whole = {"name": "x", "requires_remote_server": False, "artifact_store": Files(), "validate": lambda: None}
    return SimpleNamespace(**{**whole, **parts})


def test_a_run_is_not_submitted_to_what_cannot_take_it() -> None:
    check_usable(stack())
    with pytest.raises(ConfigError, match="set ZENML_STORE_URL"):
        check_usable(stack(requires_remote_server=True))
    with pytest.raises(ServiceError, match="nothing can be written: PermissionError"):
        check_usable(stack(artifact_store=Files("write")))

    def refuse() -> None:
        raise ValueError("no registry")

    with pytest.raises(ConfigError, match="no registry"):
        check_usable(stack(validate=refuse))


def test_a_service_that_says_nothing_is_not_waited_for() -> None:
    import threading

    with pytest.raises(TimeoutError, match=r"no answer within 0\.02 s"):
        within(0.02, threading.Event().wait)
    assert within(1, lambda: 7) == 7


@pytest.mark.slow
def test_buckets_that_are_not_there_or_do_not_answer(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    text = LOCAL.replace("flavor: local, configuration", "flavor: s3, configuration")
    path = declare(tmp_path, "bucket", text)
    assert found(examine(path, None, {"HERE": s3}), "missing") == {}
    (why,) = found(examine(path, None, {"HERE": "s3://no-such-bucket/runs"}), "missing")["artifact store"]
    assert why.startswith("nothing can be written: ") and "bucket" in why.lower()
    forget_file_systems()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    (why,) = found(examine(path, None, {"HERE": s3}), "missing")["artifact store"]
    assert why.startswith("nothing can be written: ") and "127.0.0.1:9" in why
    forget_file_systems()


def test_a_stack_that_refuses_a_run_is_no_fault_of_assay() -> None:
    from ops.run import _failure

    refused = RuntimeError("Docker isn't there\nand more")
    told = _failure(refused, None, "far")
    assert isinstance(told, ServiceError)
    assert str(told).startswith(
        "stack 'far' didn't take the run: RuntimeError: Docker isn't there\n  way out: `assay st"
    )
    assert _failure(refused, None) is refused
    assert _failure(ConfigError("ours"), None, "far").exit_code == 2
