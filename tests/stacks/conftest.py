"""What every test of a stack compares with: the same run on this machine, by the real command, once per session."""

import dataclasses
import fcntl
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.object_store import forget_file_systems, own_s3, s3, s3_server  # noqa: F401 - fixtures
from support.outcomes import CURATION, SMOKE, Outcome, outcome, run
from support.servers import azurite, gcs


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Of the whole of configs/runs/smoke.yaml on the stack `local`."""
    return _once(tmp_path_factory, "reference", SMOKE)


@pytest.fixture(scope="session")
def curated(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Of its curation alone."""
    return _once(tmp_path_factory, "curated", SMOKE, *CURATION)


def _once(factory: pytest.TempPathFactory, name: str, *arguments: str) -> Outcome:
    """Made by the first process of pytest-xdist that asks for it."""
    shared = factory.getbasetemp().parent if factory.getbasetemp().name.startswith("popen-") else factory.getbasetemp()
    kept = shared / f"{name}.json"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.is_file():
            state = shared / name
            kept.write_text(json.dumps(dataclasses.asdict(outcome(state, run(state, *arguments).name))))
    return Outcome(**json.loads(kept.read_text()))


@pytest.fixture(scope="session")
def numba(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled kernels as an image holds them; the first step that needs one makes it."""
    return tmp_path_factory.mktemp("numba")


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets this process, and all that it starts, see a server."""

    def lead(**variables: str) -> None:
        for key, value in variables.items():
            monkeypatch.setenv(key, value)
        # fsspec keeps file systems, with the credentials that the environment had when they were made.
        forget_file_systems()

    return lead


@pytest.fixture(scope="session")
def azurite_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A connection string."""
    with azurite.azurite(tmp_path_factory.mktemp("azurite")) as connection:
        yield connection


@pytest.fixture(scope="session")
def gcs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address."""
    with gcs.gcs(tmp_path_factory.mktemp("gcs")) as url:
        yield url
