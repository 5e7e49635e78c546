"""`assay serve`: a model behind OpenAI's chat completions."""

import ipaddress
import os
import socket
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ops.console import complain
from ops.deploy.processes import MARK
from ops.environment import prepare
from ops.serving.app import Rules, make_app
from ops.serving.engine_desk import EngineDesk
from ops.serving.opening import Opened
from ops.serving.page import Page
from ops.serving.request_log import RequestLog
from steps.contracts.errors import ServiceError

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette

# Environment variable with the key that requests must bear.
KEY = "ASSAY_SERVE_KEY"
# Chosen: connections at once; each may wait for its answer.
_MOST_CONNECTIONS = 512
# Chosen: seconds that answers on their way have when the server is told to stop.
_DRAIN = 60


@dataclass(frozen=True)
class Listening:
    """Where it is asked, and how it answers. `most`: tokens of an answer where the request doesn't say; `log`: where
    requests are kept; `page`: one to talk to the models.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    most: int = 1024
    log: Path | None = None
    page: Page | None = None


def serve_models(root: Path, opening: AbstractContextManager[Opened], listening: Listening) -> None:
    """Answer requests until SIGTERM or Ctrl-C; those that have begun are answered before it ends.

    Raises:
        ConfigError: a setting is wrong, or the models can't be served together. ServiceError: the address is taken, or
            the engine has ended too often. StorageError: the log can't be written.
    """
    prepare(root)
    # An engine isn't ended beside this process: it has to answer what has begun.
    os.environ.pop(MARK, None)
    host, log = listening.host, listening.log
    with (
        closing(_listening(host, listening.port)) as listener,
        RequestLog(log) if log is not None else nullcontext() as kept,
        opening as (desk, models),
    ):
        hosts = frozenset({"127.0.0.1", "localhost", "::1"}) if _is_loopback(host) else frozenset[str]()
        rules = Rules(models, listening.most, hosts, os.environ.get(KEY, ""), listening.page)
        server = _server(make_app(desk, rules, kept))
        bound = listener.getsockname()
        address = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        complain(f"serving {', '.join(m['id'] for m in models)} at http://{address}:{bound[1]}/v1")
        if listening.page is not None:
            complain(f"a page to talk to it: http://{address}:{bound[1]}/")
        if log is not None:
            complain(f"every request is kept in {log} with its answer, as it came: whoever asks should know")
        if not _is_loopback(host):
            guarded = f"with the key of {KEY}" if rules.key else f"without a key ({KEY} names one)"
            complain(f"warning: whoever reaches this machine at {host} can ask it, {guarded}")
        if isinstance(desk, EngineDesk):
            desk.when_dead = lambda: setattr(server, "should_exit", True)
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt:  # what uvicorn passes on when it has ended
            complain(f"stopped; {desk.answered} requests were answered")
        if isinstance(desk, EngineDesk) and desk.failed is not None:
            raise desk.failed


def _server(app: "Starlette") -> "uvicorn.Server":
    import uvicorn

    return uvicorn.Server(
        uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, timeout_keep_alive=5,
            limit_concurrency=_MOST_CONNECTIONS, timeout_graceful_shutdown=_DRAIN, lifespan="off",
        )
    )  # fmt: skip


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as e:
        hint = "name another: --port 0 takes any"
        raise ServiceError(f"can't listen on {host}, port {port}: {e.strerror}", hint=hint) from e
    return listener
