"""What keeps a stack from being used is found before anything is submitted, all at once."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.object_store import forget_file_systems, s3, s3_server  # noqa: F401 - fixtures
from zenml.client import Client

from ops.commands.doctor import Check, mlflow_checks
from ops.infra import InfraConfig
from ops.stacks.doctor import examine
from ops.stacks.usable import check_usable, store_trouble, tracker_trouble, within
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
    assert "http://127.0.0.1:9: ConnectionRefusedError" in told["MLflow server"][0]
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


@contextmanager
def mlflow_like(knows: str, silent: bool = False) -> Iterator[str]:
    """The address of what answers a search for experiments, to who has the token."""

    class Asked(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if silent:
                time.sleep(1)
            known = self.headers["Authorization"] == f"Bearer {knows}"
            body = b"{}" if known else b"Unauthorized: the token has expired"
            with suppress(BrokenPipeError):
                self._answer(known, body)

        def _answer(self, known: bool, body: bytes) -> None:
            self.send_response(200 if known else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Asked)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_token_that_mlflow_does_not_take_any_more_is_named_before_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = SimpleNamespace(
        name="far", requires_remote_server=False, validate=lambda: None, experiment_tracker=None,
        artifact_store=SimpleNamespace(config=SimpleNamespace(is_local=True)),
    )  # fmt: skip
    with mlflow_like("new") as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "new")
        check_usable(stack, [uri])
        assert [c.status for c in mlflow_checks(uri)] == ["ok"]
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "old")
        with pytest.raises(ServiceError, match=r"the experiment tracker can't be used: .* 401") as caught:
            check_usable(stack, [uri])
        assert "renew" in caught.value.hint and caught.value.where == uri
        (check,) = mlflow_checks(uri)
        assert check.status == "missing" and "the token has expired" in check.found
        # Credentials of the stack's component come first.
        config = SimpleNamespace(
            tracking_username="", tracking_password="", tracking_token="new", tracking_insecure_tls=False
        )
        assert tracker_trouble(uri, SimpleNamespace(config=config)) == ""
    assert not list(mlflow_checks("sqlite:///here.db")), "a file is no server"


def test_tracker_that_takes_a_request_and_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.stacks.usable._ANSWER", 0.2)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t")
    with mlflow_like("t", silent=True) as uri:
        started = time.monotonic()
        assert "timed out" in tracker_trouble(uri)
        assert time.monotonic() - started < 5
