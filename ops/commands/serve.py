"""`assay serve`: a model behind OpenAI's chat completions."""

import ipaddress
import os
import socket
from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path

from pydantic import ValidationError

from ops.console import complain
from ops.environment import prepare
from ops.found_models import FoundModel, find_model
from ops.serving.app import Rules, make_app
from ops.serving.desk import Desk
from ops.serving.loading import describe
from ops.serving.request_log import RequestLog
from steps.contracts.errors import ConfigError, ServiceError
from steps.engines.lm.scorer import is_scorer
from steps.engines.subjects.local_model import Inference
from steps.evaluate.config import EvaluateConfig
from steps.evaluate.evaluate import inference

# Environment variable with the key that requests must bear.
KEY = "ASSAY_SERVE_KEY"
# Chosen: connections at once; each may wait for its answer.
_MOST_CONNECTIONS = 512
# Chosen: seconds that answers on their way have when the server is told to stop.
_DRAIN = 60


def serve_model(
    root: Path,
    model: str,
    adapters: Sequence[str],
    name: str | None,
    host: str,
    port: int,
    most: int,
    overrides: Sequence[str],
    over: str | None,
    log: Path | None = None,
) -> None:
    """Answer requests until SIGTERM or Ctrl-C; those that have begun are answered before it ends.

    Raises:
        ConfigError: a setting is wrong, or the models can't be served together. ServiceError: the address is taken.
        StorageError: the log can't be written.
    """
    import uvicorn

    prepare(root)
    found = {name or model: find_model(root, model, over)}
    for given in adapters:
        called, equals, text = given.partition("=")
        if not equals or not called or not text:
            raise ConfigError(f"{given!r} names no adapter", where="--adapter", hint="--adapter NAME=MODEL")
        if called in found:
            raise ConfigError(f"two models are called {called}", where="--adapter")
        found[called] = find_model(root, text, over or model)
    models = {called: (one.base, one.tuned) for called, one in found.items()}
    for called, one in found.items():
        if is_scorer(one.model):
            raise ConfigError("a reward model says a number of an answer, and gives none", where=called)
    with (
        closing(_listening(host, port)) as listener,
        RequestLog(log) if log is not None else nullcontext() as kept,
        Desk(models, settings_of(found, overrides)) as desk,
    ):
        hosts = frozenset({"127.0.0.1", "localhost", "::1"}) if _is_loopback(host) else frozenset[str]()
        rules = Rules(describe(models), most, hosts, os.environ.get(KEY, ""))
        app = make_app(desk, rules, kept)
        server = uvicorn.Server(
            uvicorn.Config(
                app, log_level="warning", access_log=False, server_header=False, timeout_keep_alive=5,
                limit_concurrency=_MOST_CONNECTIONS, timeout_graceful_shutdown=_DRAIN, lifespan="off",
            )
        )  # fmt: skip
        bound = listener.getsockname()
        address = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        complain(f"serving {', '.join(models)} at http://{address}:{bound[1]}/v1")
        if log is not None:
            complain(f"every request is kept in {log} with its answer, as it came: whoever asks should know")
        if not _is_loopback(host):
            guarded = f"with the key of {KEY}" if rules.key else f"without a key ({KEY} names one)"
            complain(f"warning: whoever reaches this machine at {host} can ask it, {guarded}")
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt:  # what uvicorn passes on when it has ended
            complain(f"stopped; {desk.answered} requests were answered")


def settings_of(models: dict[str, FoundModel], overrides: Sequence[str]) -> Inference:
    """How models are run: as the run that made the first of them evaluated it, but for `overrides`.

    Raises:
        ConfigError: a setting that there isn't.
    """
    from ops.reading import from_overrides

    run = next((m.run for m in models.values() if m.run is not None), None)
    values = run.config.get("evaluate") if run is not None else None
    try:
        start = EvaluateConfig.model_validate(values or {})
    except ValidationError:  # of a run of an older version, with settings that there aren't any more
        start = EvaluateConfig()
    return inference(from_overrides(EvaluateConfig, list(overrides), "evaluate settings", start))


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
