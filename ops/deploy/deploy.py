"""`assay deploy`: a model behind an address that stays, the old server kept until the new one has passed its test.

At every instant the file of the deployment says which server is asked. A command that is killed leaves that server
running, and at most a new one that nobody asks, which the next command ends.
"""

import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ops.deploy import kubernetes, processes, sagemaker, state
from ops.deploy.smoke import smoke_test, wait_until_up
from ops.deploy.state import Deployment, Server, Target
from ops.deploy.wanted import packed_model, wanted
from steps.contracts.errors import AssayError, ConfigError, InputError, InputNotFoundError, IntegrityError, ServiceError
from steps.engines.exports.folder_format import Asked
from steps.register.registered import with_secret
from steps.zenml_runtime.state import state_folder

# Chosen: seconds that answers on their way have when their server isn't asked any more; `assay serve` takes 60.
_DRAIN = 70.0
_FRONT_PATIENCE = 30.0
_ASSAY = (sys.executable, "-m", "ops.main")


@dataclass(frozen=True)
class Wish:
    """What is asked of a deployment.

    Attributes:
        port: the public one; None: that of the deployment, or any that is free.
        timeout: seconds until the new server must be up.
        prompts: that it must answer besides our own.
    """

    name: str
    port: int | None = None
    timeout: float = 600.0
    prompts: Sequence[Asked] = ()


def deploy(
    root: Path,
    text: str,
    to: Target,
    wish: Wish,
    over: str | None,
    overrides: Sequence[str],
    say: Callable[[str], None],
) -> Deployment:
    """Start a server of the model, test it, and let it be asked in the place of the one before.

    Raises:
        ServiceError, IntegrityError: it doesn't pass its test; what was deployed before is still asked.
        ConfigError: it can't be deployed so, or the port is taken. As `wanted`.
    """
    server = wanted(root, text, to, wish.name, over, overrides)
    with _alone(root, wish.name, say) as folder:
        return _exchange(root, folder, server, wish, state.read(folder), say)


def go_back(root: Path, wish: Wish, say: Callable[[str], None]) -> Deployment:
    """To the model that was deployed before, by a server of its own, tested as any.

    Raises: as `deploy`; InputError: there is none.
    """
    with _alone(root, wish.name, say) as folder:
        there = _there(folder, wish.name)
        if there.previous is None:
            raise InputError("nothing was deployed before", where=wish.name, hint="assay deploy MODEL")
        return _exchange(root, folder, there.previous, wish, there, say)


def again(root: Path, wish: Wish, say: Callable[[str], None]) -> Deployment:
    """What is deployed, started anew where it, or its address, is gone: after a crash, or the machine's.

    Raises: as `deploy`.
    """
    with _alone(root, wish.name, say) as folder:
        there = _there(folder, wish.name)
        _clean(folder, there)
        if there.current.elsewhere or not processes.running(folder, there.current.id):
            return _exchange(root, folder, there.current, wish, there, say)
        return _with_front(root, folder, there)


def undeploy(root: Path, name: str, say: Callable[[str], None]) -> int:
    """End everything of a deployment, and forget it; returns how many processes were ended.

    Raises:
        InputNotFoundError: nothing is deployed under that name.
    """
    folder = state.folder_of(root, name)
    if not folder.is_dir():
        raise _nothing(root, name)
    with _alone(root, name, say) as folder:
        there = (folder / state.STATE).is_file()
        removed = _removed(folder)
        # First, so that nobody starts again what is being ended.
        (folder / state.STATE).unlink(missing_ok=True)
        living = processes.running(folder)
        processes.end(living, _DRAIN)
        if not there and not living:
            raise _nothing(root, name)
        for log in folder.glob("*.log"):
            log.unlink()
        return len(living) + removed


def _removed(folder: Path) -> int:
    """What was taken out of a cluster or a cloud. Of a damaged state nobody knows whether there is any."""
    try:
        deployment = state.read(folder)
    except IntegrityError:
        return 0
    if deployment is None or not deployment.current.elsewhere:
        return 0
    remove = kubernetes.remove if deployment.current.to == "kubernetes" else sagemaker.remove
    return remove(deployment.current)


@contextmanager
def _alone(root: Path, name: str, say: Callable[[str], None]) -> Iterator[Path]:
    """The folder of a deployment, while nobody else changes it."""
    folder = state.folder_of(root, name)
    with state.changing(folder, lambda: say("waiting for another command that changes this deployment")):
        yield folder


def _there(folder: Path, name: str) -> Deployment:
    found = state.read(folder)
    if found is None:
        raise InputNotFoundError(f"nothing is deployed as {name}", hint="assay deploy MODEL; --as NAME names another")
    return found


def _nothing(root: Path, name: str) -> InputNotFoundError:
    known = state.all_names(root)
    hint = "deployed are " + ", ".join(known) if known else "nothing is deployed"
    return InputNotFoundError(f"nothing is deployed as {name}", hint=hint)


def _exchange(
    root: Path, folder: Path, wanted: Server, wish: Wish, there: Deployment | None, say: Callable[[str], None]
) -> Deployment:
    """Start, test, and only then let it be asked; what was there goes on until then, and if it fails."""
    if there is not None and _place(there.current) != _place(wanted):
        what = " ".join([f"{wish.name} is deployed by {there.current.by}", *filter(None, _place(there.current)[1:])])
        raise ConfigError(what, where="--to", hint=f"--as another name, or assay undeploy --as {wish.name}")
    if wanted.elsewhere:
        return _applied(root, folder, wanted, wish, there, say)
    _clean(folder, there)
    _check_port(wish.port, there)
    server = wanted.model_copy(update={"id": secrets.token_hex(6), "port": _free_port(), "since": ""})
    try:
        processes.start(folder, server.id, _command(server), root, _environment(root, server))
        say(f"starting {server.asked} by {server.by}")
        wait_until_up(server, wish.timeout, lambda: bool(processes.running(folder, server.id)))
        tested = smoke_test(server, wish.prompts)
    except BaseException as e:
        processes.end(processes.running(folder, server.id), 10)
        if isinstance(e, AssayError):
            raise _told(e, folder, server, there) from e
        raise
    server = server.model_copy(update={"since": datetime.now(UTC).isoformat(timespec="seconds"), "tested": tested})
    old = there.current if there is not None else None
    deployment = Deployment(
        name=wish.name, port=(wish.port or (there.port if there else None)) or _free_port(),
        front=there.front if there is not None else "", current=server, previous=_before(server, there),
    )  # fmt: skip
    # The instant at which the new one is asked.
    state.write(folder, deployment)
    deployment = _with_front(root, folder, deployment)
    if old is not None:
        processes.end(processes.running(folder, old.id), _DRAIN)
    return deployment


def _place(server: Server) -> tuple[str, ...]:
    """What a deployment stays in."""
    where = (server.place.get(key, "") for key in ("context", "namespace", "region", "bucket"))
    return (server.to if server.elsewhere else "", *where)


def _applied(
    root: Path, folder: Path, wanted: Server, wish: Wish, there: Deployment | None, say: Callable[[str], None]
) -> Deployment:
    """In a cluster or a cloud; what becomes of it there is Kubernetes' or SageMaker's to tell."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    server = wanted.model_copy(update={"id": secrets.token_hex(6), "port": kubernetes.PORT, "since": since})
    if server.to == "kubernetes":
        kubernetes.apply(server)
    else:
        sagemaker.apply(server, packed_model(root, server), wish.timeout, say)
    done = Deployment(
        name=wish.name, port=kubernetes.PORT, front="", current=server, previous=_before(server, there)
    )  # fmt: skip
    state.write(folder, done)
    return done


def _before(server: Server, there: Deployment | None) -> Server | None:
    """What one goes back to; the same model again is no other one."""
    if there is None:
        return None
    return there.previous if there.current.is_like(server) else there.current


def _told(error: AssayError, folder: Path, server: Server, there: Deployment | None) -> AssayError:
    """With the end of the server's log, and what is asked now."""
    kept = f"{there.current.asked} is still asked" if there is not None else "nothing was deployed"
    lines = processes.said(folder, server.id).splitlines()
    last = next((line for line in reversed(lines) if "error" in line.lower()), lines[-1] if lines else "")
    last = f"; it said: {last.strip()[:300]}" if last else ""
    hint = f"{kept}; its log is {folder / server.id}.log"
    return type(error)(error.what + last, where=error.where, hint=f"{error.hint}; {hint}" if error.hint else hint)


def _clean(folder: Path, there: Deployment | None) -> None:
    """End what a killed command has left: servers that nobody asks."""
    asked = {there.current.id, there.front} if there is not None else set()
    known = {p.pid for id_ in asked if id_ for p in processes.running(folder, id_)}
    processes.end([p for p in processes.running(folder) if p.pid not in known], 10)


def _with_front(root: Path, folder: Path, there: Deployment) -> Deployment:
    """Its address, started where it isn't up, or is another one.

    Raises:
        ServiceError: the port was taken meanwhile.
    """
    living = processes.running(folder, there.front) if there.front else []
    if living and _listens(there.port):
        return there
    processes.end(living, 5)
    front = there.model_copy(update={"front": f"front-{secrets.token_hex(6)}"})
    # Noted first: who dies now has left nothing that isn't known.
    state.write(folder, front)
    processes.start(
        folder, front.front, [sys.executable, "-m", "ops.deploy.front", str(folder), str(front.port)], root, {}
    )
    deadline = time.monotonic() + _FRONT_PATIENCE
    while not _listens(front.port) or not processes.running(folder, front.front):
        if not processes.running(folder, front.front) or time.monotonic() > deadline:
            what = f"nothing of ours listens on port {front.port}: {processes.said(folder, front.front, 300)}"
            raise ServiceError(what, where=there.name, hint="assay deploy --again --port PORT")
        time.sleep(0.1)
    return front


def _check_port(port: int | None, there: Deployment | None) -> None:
    """Before anything is started. The deployment's own front may have it."""
    if port is None or (there is not None and port == there.port):
        return
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError as e:
            raise ConfigError(f"port {port} is taken", where="--port", hint="--port names another") from e


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2):
            return True
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _command(server: Server) -> list[str]:
    if server.to == "mlflow":
        name = server.model.rpartition("#")[2]
        return [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", f"models:/{name}", "--env-manager",
                "local", "--host", "127.0.0.1", "--port", str(server.port)]  # fmt: skip
    over = ["--over", server.over] if server.over else []
    settings = [word for one in server.overrides for word in ("--set", one)]
    return [*_ASSAY, "serve", server.model, "--as", server.name, "--port", str(server.port), *over, *settings]


def _environment(root: Path, server: Server) -> dict[str, str]:
    ours = {"ASSAY_ROOT": str(root), "ASSAY_STATE": str(state_folder(root).resolve())}
    if server.to != "mlflow":
        return ours
    uri = with_secret(server.model.rpartition("#")[0])
    # MLflow looks for `uvicorn` as a program.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    told = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_REGISTRY_URI": uri, "MLFLOW_DISABLE_TELEMETRY": "true", "PATH": path}
    return {**ours, **told}
