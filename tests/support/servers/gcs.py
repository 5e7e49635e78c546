"""An emulator of Google Cloud Storage on a loopback port."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.servers.process import answers, free_port, serving

BUCKET = "assay-test"


@contextmanager
def gcs(folder: Path) -> Iterator[str]:
    """Its address; it holds one bucket."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        sys.executable, "-m", "gcp_storage_emulator", "start", "--host=127.0.0.1", f"--port={port}", "--in-memory",
        f"--default-bucket={BUCKET}",
    ]  # fmt: skip
    with serving(command, folder, lambda: answers(f"{url}/storage/v1/b/{BUCKET}")):
        yield url


def environment(url: str) -> dict[str, str]:
    """What leads fsspec there, in every process."""
    return {"STORAGE_EMULATOR_HOST": url}
