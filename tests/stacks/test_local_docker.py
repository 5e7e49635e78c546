"""Steps in containers of this machine: the results of one process, and the truth about a container that is killed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.outcomes import ROOT, SMOKE, Outcome, assay, index, outcome, run
from support.servers.podman import docker_socket, image

# What a run has that doesn't depend on how many steps it was done by.
EQUAL = ("datasets", "weights", "answers", "ledgers")
pytestmark = pytest.mark.stacks


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("docker")
    name = image(folder)
    with docker_socket(folder) as environment:
        yield {**environment, "ASSAY_IMAGE": name}


def test_the_whole_job_in_containers_is_that_of_one_process(
    docker: dict[str, str], reference: Outcome, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    # Of the state folder what is mounted: the steps and this process have one tracker.
    tracker = {"MLFLOW_TRACKING_URI": f"sqlite:///{state}/zenml/local_stores/artifacts/mlflow.db"}
    doctor = assay(state, "stack", "doctor", "local-docker", **docker)
    assert doctor.returncode == 0 and "missing" not in doctor.stdout, doctor.stdout
    record = run(state, SMOKE, "--infra", "local-docker", **docker, **tracker)
    found = outcome(state, record.name, **docker, **tracker)
    assert found.differences(reference) == {}


def test_row_wise_work_by_shares_in_containers_is_that_of_one_process(
    docker: dict[str, str], reference: Outcome, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    tracker = {"MLFLOW_TRACKING_URI": f"sqlite:///{state}/zenml/local_stores/artifacts/mlflow.db"}
    infra = ROOT / "configs" / "infra" / f"{tmp_path.name}.yaml"
    infra.write_text("extends: local-docker\nstack: local-docker\nrun: {fan_out: 2}\n")
    try:
        record = run(state, SMOKE, "--infra", infra.stem, **docker, **tracker)
    finally:
        infra.unlink()
    shares = {f"{stage}_share_{n}_step" for stage in ("scrub", "screen", "judge") for n in (1, 2)}
    assert shares <= set(record.executed_steps)
    found = outcome(state, record.name, **docker, **tracker)
    assert [getattr(found, part) for part in EQUAL] == [getattr(reference, part) for part in EQUAL]


def test_a_container_that_is_killed_is_named_with_its_limit_and_its_log(docker: dict[str, str], tmp_path: Path) -> None:
    infra = ROOT / "configs" / "infra" / f"{tmp_path.name}.yaml"
    infra.write_text("extends: local-docker\nstack: local-docker\nretry: null\n"
                     "steps:\n  ingest_step: {resources: {memory: 60MiB}}\n")  # fmt: skip
    try:
        done = assay(tmp_path / "state", "run", SMOKE, "--set", "pipeline=curate", "--infra", infra.stem, **docker)
    finally:
        infra.unlink()
    assert done.returncode == 1, done.stderr
    assert "ingest_step: its container was killed by signal 9 (SIGKILL)" in done.stderr
    assert "its memory was limited to 62.91 MB" in done.stderr and "its log: docker logs " in done.stderr
    (record,) = index(tmp_path / "state").values()
    assert record.status in ("failed", "died") and record.executed_steps == ("start_step",)
