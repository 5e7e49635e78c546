"""`assay dashboard`: ZenML's dashboard and MLflow's UI over the stores of the state folder, on this machine alone."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ops.console import say
from ops.environment import SWITCHES, prepare
from pipelines.report.dashboards import MLFLOW_PORT, ZENML_PORT, Dashboards
from steps.contracts.errors import ConfigError, InputNotFoundError, MissingDependencyError, ServiceError
from steps.contracts.locks import is_held, locked
from steps.contracts.storage import write_whole
from steps.zenml_runtime.state import state_location

_HOST = "127.0.0.1"
# Chosen: both import a lot, and a busy machine takes its time.
_PATIENCE = 180.0
_GRACE = 10.0


@dataclass(frozen=True)
class _Server:
    name: str
    command: list[str]
    port: int
    environment: Mapping[str, str]

    @property
    def url(self) -> str:
        return f"http://{_HOST}:{self.port}"


def serve(root: Path, zenml_port: int | None = None, mlflow_port: int | None = None) -> None:
    """Start both, say where they are, and serve until told to end (Ctrl-C, SIGTERM). What belongs to the command line
    (ZenML's configuration, the active stack) isn't touched.

    Raises:
        MissingDependencyError: ZenML's server has no environment here. InputNotFoundError: there is no store yet.
        ConfigError: a port is taken. ServiceError: one of them doesn't start.
    """
    state = prepare(root)
    tracking = _mlflow(state, mlflow_port or MLFLOW_PORT)
    servers = [_zenml(root, state, zenml_port or ZENML_PORT), *([tracking] if tracking else [])]
    for server in servers:
        _check_free(server)
    folder = state / "dashboard"
    folder.mkdir(mode=0o700, exist_ok=True)
    with suppress(KeyboardInterrupt), locked(folder / "lock"), _running(servers, folder) as processes:
        _tell(servers, folder)
        while all(p.poll() is None for p in processes.values()):
            time.sleep(0.5)
        ended = next(name for name, p in processes.items() if p.poll() is not None)
        raise ServiceError(f"{ended} ended", where=str(folder / f"{ended}.log"), hint="its log says why")


def _tell(servers: Iterable[_Server], folder: Path) -> None:
    urls = {s.name: s.url for s in servers}
    write_whole(folder / "urls.json", json.dumps(asdict(Dashboards(urls["zenml"], urls.get("mlflow", "")))))
    say(f"ZenML's dashboard  {urls['zenml']}/projects/default/runs")
    say(f"MLflow             {urls.get('mlflow', 'nothing is tracked in the local store yet')}")
    say("Ctrl-C ends both")


def running(root: Path) -> Dashboards | None:
    """Where they are, while they run over this state folder."""
    folder = state_location(root) / "dashboard"
    try:
        return Dashboards(**json.loads((folder / "urls.json").read_text())) if is_held(folder / "lock") else None
    except (OSError, ValueError, TypeError):
        return None


def _zenml(root: Path, state: Path, port: int) -> _Server:
    """ZenML's server on the local store's file, with a configuration of its own, and without the key of secrets."""
    if os.environ.get("ZENML_STORE_URL"):
        hint = "it has a dashboard of its own; unset ZENML_STORE_URL for the local store's"
        raise ConfigError("ZENML_STORE_URL names a server", where=os.environ["ZENML_STORE_URL"], hint=hint)
    python = root / ".venv-server" / "bin" / "python"
    if not python.exists():
        raise MissingDependencyError("ZenML's server isn't installed", where=str(python), hint="make server-env")
    database = state / "zenml" / "local_stores" / "default_zen_store" / "zenml.db"
    if not database.is_file():
        raise InputNotFoundError("no runs yet", where=str(database), hint="assay run CONFIG makes the store")
    environment = {
        **SWITCHES,
        "ZENML_CONFIG_PATH": str(state / "dashboard" / "zenml"),
        "ZENML_LOGGING_VERBOSITY": "WARN",
        "ZENML_LOGGING_COLORS_DISABLED": "true",
        "ZENML_STORE_TYPE": "sql",
        "ZENML_STORE_URL": f"sqlite:///{database}",
        "ZENML_SERVER_DEPLOYMENT_TYPE": "other",
        "ZENML_SERVER_AUTH_SCHEME": "NO_AUTH",
        "ZENML_SERVER_AUTO_ACTIVATE": "true",
    }
    app = ["-m", "uvicorn", "zenml.zen_server.zen_server_api:app", "--host", _HOST, "--port", str(port)]
    return _Server("zenml", [str(python), *app], port, environment)


def _mlflow(state: Path, port: int) -> _Server | None:
    """None where nothing was tracked in the local store."""
    database = state / "artifacts" / "mlflow.db"
    if not database.is_file():
        return None
    store = ["--backend-store-uri", f"sqlite:///{database}", "--no-serve-artifacts", "--workers", "1"]
    command = [sys.executable, "-m", "mlflow", "server", "--host", _HOST, "--port", str(port), *store]
    # Its background jobs (scorers, prompts) are nothing that runs here have, and as many processes.
    return _Server("mlflow", command, port, {**SWITCHES, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})


def _check_free(server: _Server) -> None:
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((_HOST, server.port))
        except OSError as e:
            option = f"--{server.name}-port"
            raise ConfigError(f"port {server.port} is taken", where=server.name, hint=f"{option} names another") from e


@contextmanager
def _running(servers: list[_Server], folder: Path) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Both as processes, once they answer; they end with this block, whatever ends it."""
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for server in servers:
            with (folder / f"{server.name}.log").open("wb") as log:
                processes[server.name] = _started(server, folder, log)
        for server in servers:
            _await(server, processes[server.name], folder)
        _skip_welcome(servers[0].url)
        yield processes
    finally:
        _end(processes.values())


def _started(server: _Server, folder: Path, log: Any) -> subprocess.Popen[bytes]:
    # Not what leads a run to its stores: the server is told where they are.
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ZENML_", "PYTHON"))}
    return subprocess.Popen(
        server.command, cwd=folder, env={**kept, **server.environment}, stdin=subprocess.DEVNULL, stdout=log,
        stderr=log, start_new_session=True,
    )  # fmt: skip


def _await(server: _Server, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not _answers(f"{server.url}/health"):
        if process.poll() is not None or time.monotonic() > deadline:
            log = folder / f"{server.name}.log"
            raise ServiceError(f"{server.name} doesn't start", where=str(log), hint="its log says why")
        time.sleep(0.3)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def _skip_welcome(url: str) -> None:
    """ZenML asks a new user for name and address before it shows anything; here there is nobody to ask."""
    with suppress(OSError, ValueError, KeyError):
        with urllib.request.urlopen(f"{url}/api/v1/current-user", timeout=10) as reply:
            user = json.loads(reply.read())
        if user["body"]["email_opted_in"] is None:
            told = {"full_name": user["name"], "email_opted_in": False, "user_metadata": _ANSWERED}
            body = json.dumps(told).encode()
            request = urllib.request.Request(f"{url}/api/v1/current-user", body, {"Content-Type": "application/json"})
            request.method = "PUT"
            urllib.request.urlopen(request, timeout=10).close()


_ANSWERED = {"awareness_channels": ["other"], "primary_use": "other", "usage_reason": "other"}


def _end(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
