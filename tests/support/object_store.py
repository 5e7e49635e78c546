"""A server on this machine that speaks S3's protocol, and the environment that leads to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.servers import moto


def forget_file_systems() -> None:
    """fsspec keeps file systems, with the credentials that the environment had when they were made."""
    from fsspec import AbstractFileSystem

    for kind in AbstractFileSystem.__subclasses__():
        kind.clear_instance_cache()
    for kind in [k for c in AbstractFileSystem.__subclasses__() for k in c.__subclasses__()]:
        kind.clear_instance_cache()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address; it holds one bucket."""
    with moto.moto(tmp_path_factory.mktemp("moto")) as url:
        yield url


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The artifact store's path, with the environment set as docs/stacks.md says."""
    # A test before may have looked for an earlier run's artifacts without credentials.
    forget_file_systems()
    path = "s3://assay-test/runs"
    for name, value in {**moto.environment(s3_server), "ASSAY_S3_PATH": path}.items():
        monkeypatch.setenv(name, value)
    return path


@pytest.fixture
def own_s3(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An artifact store's path in which nothing of other tests lies; for commands with a state folder of their own."""
    path = f"{s3.rpartition('/')[0]}/{tmp_path.name}"
    monkeypatch.setenv("ASSAY_S3_PATH", path)
    return path
