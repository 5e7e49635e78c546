"""What is said of a step's container that ended."""

from types import SimpleNamespace
from typing import Any

import pytest

from steps.zenml_runtime.containers import be_patient, daemon_error, killed, log_command

docker = pytest.importorskip("docker.errors")


def error(status: int, memory: int = 0) -> Any:
    container = SimpleNamespace(short_id="19fb9a059f28", attrs={"HostConfig": {"Memory": memory}})
    command = ["--snapshot_id", "x", "--step_name", "dedup_step"]
    return docker.ContainerError(container, status, command, "assay:cpu", b"")


def test_one_that_was_killed_is_told_with_its_limit_and_its_log() -> None:
    found = killed(error(137, 150 << 20), "mails-1")
    assert str(found) == (
        "run mails-1, dedup_step: its container was killed by signal 9 (SIGKILL)\n"
        "  way out: its memory was limited to 157.3 MB (`resources` of the infra file): allow it more, or less work;"
        " its log: docker logs 19fb9a059f28"
    )
    assert "dmesg says so" in str(killed(error(137)))


def test_docker_that_does_not_answer_is_not_taken_for_the_tracker() -> None:
    requests = pytest.importorskip("requests")
    late = requests.exceptions.ReadTimeout("Read timed out. (read timeout=60)")
    late.request = requests.Request("POST", "http+docker://localhost/v1.41/containers/create").prepare()
    assert str(daemon_error(late)).startswith("this machine: Docker doesn't answer: Read timed out.")
    late.request = requests.Request("POST", "https://mlflow.example/api").prepare()
    assert daemon_error(late) is None and daemon_error(ValueError("else")) is None


def test_one_that_ended_by_itself_says_why_itself() -> None:
    assert killed(error(1)) is None and log_command(error(1)) == "docker logs 19fb9a059f28"
    assert killed(RuntimeError("else")) is None and log_command(None) == ""


def test_docker_is_waited_for_longer_than_a_busy_machine_takes_to_import(monkeypatch: pytest.MonkeyPatch) -> None:
    client = pytest.importorskip("docker.client")
    monkeypatch.setattr(client, "DEFAULT_TIMEOUT_SECONDS", 60)
    be_patient()
    assert client.DockerClient.from_env(version="1.41").api.timeout == 3_600
