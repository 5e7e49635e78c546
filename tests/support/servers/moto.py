"""A server on a loopback port that speaks the protocols of Amazon's services: S3, IAM, SageMaker, EventBridge."""

import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.servers.process import answers, free_port, serving

BUCKET = "assay-test"
_SIGNED = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"


@contextmanager
def moto(folder: Path) -> Iterator[str]:
    """Its address; it holds one bucket."""
    folder.mkdir(parents=True, exist_ok=True)
    url = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", url.rsplit(":", 1)[1]]
    with serving(command, folder, lambda: answers(f"{url}/moto-api/")):
        bucket = urllib.request.Request(f"{url}/{BUCKET}", method="PUT", headers={"Authorization": _SIGNED})
        urllib.request.urlopen(bucket, timeout=10).close()
        yield url


def environment(url: str) -> dict[str, str]:
    """What leads Amazon's libraries there."""
    return {
        "AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
