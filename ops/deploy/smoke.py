"""Whether a server that was started is the model that was meant, and answers."""

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any

from ops.commands.serve import KEY
from ops.deploy.state import Server
from steps.contracts.errors import IntegrityError, ServiceError
from steps.engines.exports.folder_format import Asked

# Asked of every server. Chosen: what any model can be asked; nothing is expected of the answers but that they are some.
PROMPTS: Sequence[Asked] = (
    [{"role": "user", "content": "Hello"}],
    [{"role": "user", "content": "What is two and two?"}],
    [{"role": "user", "content": "Zażółć gęślą jaźń: 東京 🙂"}],
)
# Chosen: tokens of an answer; seconds that one may take.
_MOST_TOKENS = 16
_PATIENCE = 120
_LARGEST_REPLY = 16 << 20


def wait_until_up(server: Server, seconds: float, is_alive: Callable[[], bool]) -> None:
    """Until its health is good.

    Raises:
        ServiceError: its process ended, or it isn't up after so long.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            if _get(server, "/health", timeout=5)[0] == 200:
                return
        except OSError:
            pass
        if not is_alive():
            raise ServiceError("the new server ended before it answered", where=server.asked)
        if time.monotonic() > deadline:
            raise ServiceError(
                f"the new server didn't answer within {seconds:g} s", where=server.asked, hint="--timeout"
            )
        time.sleep(0.2)


def smoke_test(server: Server, given: Sequence[Asked]) -> int:
    """Ask it everything twice; returns how many questions it answered, each time alike.

    Raises:
        IntegrityError: it is another model. ServiceError: it doesn't answer as it should.
    """
    asked = [*PROMPTS, *given]
    ask = _of_serve if server.to == "serve" else _of_mlflow
    if server.to == "serve":
        _check_model(server)
    first = [ask(server, one) for one in asked]
    if first != [ask(server, one) for one in asked]:
        raise ServiceError("the new server says something else each time", where=server.asked)
    return len(asked)


def _check_model(server: Server) -> None:
    listed = _json(server, _get(server, "/v1/models"))["data"][0]
    for key, what, meant in (("digest", "weights", server.digest), ("file", "file", server.file)):
        if meant is not None and listed.get(key) != meant:
            raise IntegrityError(
                f"the new server has the {what} {str(listed.get(key))[:12]} instead of {meant[:12]}",
                where=server.asked, hint="the model's files were changed since it was named",
            )  # fmt: skip


def _of_serve(server: Server, asked: Asked) -> tuple[str, str]:
    messages = [{"role": "user", "content": asked}] if isinstance(asked, str) else list(asked)
    body = {"model": server.name, "messages": messages, "max_tokens": _MOST_TOKENS, "temperature": 0}
    said = _json(server, _post(server, "/v1/chat/completions", body))
    choice = said["choices"][0]
    text, ended = choice["message"]["content"], choice["finish_reason"]
    if ended not in ("stop", "length") or said["usage"]["completion_tokens"] < 1:
        raise ServiceError(f"an answer ended with {ended!r}", where=server.asked)
    return str(text), ended


def _of_mlflow(server: Server, asked: Asked) -> str:
    row = {"prompt": asked} if isinstance(asked, str) else {"messages": list(asked)}
    body = {"dataframe_records": [row], "params": {"max_new_tokens": _MOST_TOKENS}}
    said = _json(server, _post(server, "/invocations", body))["predictions"]
    if not isinstance(said, list) or len(said) != 1 or not isinstance(said[0], str):
        raise ServiceError(f"{json.dumps(said)[:200]} is no answer to one question", where=server.asked)
    return str(said[0])


def _json(server: Server, reply: tuple[int, bytes]) -> Any:
    status, raw = reply
    if status != 200:
        said = raw[:300].decode("utf-8", "replace")
        raise ServiceError(f"the new server answered with {status}: {said}", where=server.asked)
    try:
        return json.loads(raw)
    except ValueError as e:
        raise ServiceError("the new server's answer is no JSON", where=server.asked) from e


def _get(server: Server, path: str, timeout: float = _PATIENCE) -> tuple[int, bytes]:
    return _asked(urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", headers=_key()), timeout)


def _post(server: Server, path: str, body: Any) -> tuple[int, bytes]:
    raw = json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **_key()}
    try:
        return _asked(urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", raw, headers), _PATIENCE)
    except OSError as e:
        raise ServiceError(f"the new server doesn't answer: {e}", where=server.asked) from e


# A proxy of the environment is no way to this machine.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _asked(request: urllib.request.Request, timeout: float) -> tuple[int, bytes]:
    try:
        with _DIRECT.open(request, timeout=timeout) as reply:
            return reply.status, reply.read(_LARGEST_REPLY)
    except urllib.error.HTTPError as e:
        return e.code, e.read(_LARGEST_REPLY)


def _key() -> dict[str, str]:
    key = os.environ.get(KEY)
    return {"Authorization": f"Bearer {key}"} if key else {}
