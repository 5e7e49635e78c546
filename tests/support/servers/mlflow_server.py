"""An MLflow server on a loopback port: tracking, registry, artifacts."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.servers.process import answers, free_port, serving

# No jobs of its own: each worker of theirs is another process.
_SWITCHES = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Its address."""
    folder.mkdir(parents=True, exist_ok=True)
    url = f"http://127.0.0.1:{free_port()}"
    command = [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination", folder / "artifacts", "--serve-artifacts", "--host", "127.0.0.1",
        "--port", url.rsplit(":", 1)[1], "--workers", "1",
    ]  # fmt: skip
    with serving(command, folder, lambda: answers(f"{url}/health"), _SWITCHES):
        yield url
