"""A server on this machine that speaks S3's protocol, and the environment that leads to it."""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import pytest


def forget_file_systems() -> None:
    """fsspec keeps file systems, with the credentials that the environment had when they were made."""
    from fsspec import AbstractFileSystem

    for kind in AbstractFileSystem.__subclasses__():
        kind.clear_instance_cache()
    for kind in [k for c in AbstractFileSystem.__subclasses__() for k in c.__subclasses__()]:
        kind.clear_instance_cache()


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Its address; it holds one bucket."""
    address = f"http://127.0.0.1:{free_port()}"
    port = address.rsplit(":", 1)[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", port],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    signed = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/moto-api/", timeout=1).close()
                break
            except OSError:
                time.sleep(0.25)
        bucket = urllib.request.Request(f"{address}/assay-test", method="PUT", headers={"Authorization": signed})
        urllib.request.urlopen(bucket, timeout=10).close()
        yield address
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The artifact store's path, with the environment set as docs/stacks.md says."""
    # A test before may have looked for an earlier run's artifacts without credentials.
    forget_file_systems()
    path = "s3://assay-test/runs"
    for name, value in {
        "AWS_ENDPOINT_URL": s3_server, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1", "ASSAY_S3_PATH": path,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    return path
