"""A real HTTP server that answers chat requests by a script, counts them, and can misbehave in every way we know."""

import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CRITERIA = ("relevance", "clarity", "completeness", "accuracy")


@dataclass
class Act:
    """One answer: a status and a body after a delay. `drop` closes the connection instead, `cut` sends half."""

    status: int = 200
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drop: bool = False
    cut: bool = False


def completion(content: str | None, finish: str = "stop", usage: bool = True, **message: Any) -> Act:
    said = {"role": "assistant", "content": content, **message}
    choices = [{"index": 0, "finish_reason": finish, "message": said}]
    reply: dict[str, Any] = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": choices}
    if usage:
        reply["usage"] = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    return Act(body=json.dumps(reply))


def verdict(*scores: Any, criteria: tuple[str, ...] = CRITERIA) -> str:
    full = scores * len(criteria) if len(scores) == 1 else scores
    return json.dumps({c: {"reason": f"because {s}", "score": s} for c, s in zip(criteria, full, strict=True)})


def error(
    status: int,
    message: str = "no",
    headers: dict[str, str] | None = None,
    code: str | None = None,
    param: str | None = None,
) -> Act:
    return Act(status, json.dumps({"error": {"message": message, "code": code, "param": param}}), headers or {})


def reasoning_model(answer: Act) -> Callable[[int, dict[str, Any]], Act]:
    """As OpenAI's reasoning models: no max_tokens, no temperature but their own."""

    def script(n: int, body: dict[str, Any]) -> Act:
        if "max_tokens" in body:
            wanted = (
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'."
            )
            return error(400, wanted, code="unsupported_parameter", param="max_tokens")
        if body.get("temperature", 1) != 1:
            wanted = "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) is."
            return error(400, wanted, code="unsupported_value", param="temperature")
        return answer

    return script


class ScriptedServer:
    """`script(number, body)` gives the answer to the number-th request (from 0). Use as a context manager."""

    def __init__(self, script: Callable[[int, dict[str, Any]], Act]) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with outer._lock:
                    number = len(outer.bodies)
                    outer.bodies.append(body)
                    outer.headers.append(dict(self.headers))
                    outer.times.append(time.monotonic())
                    outer._now += 1
                    outer.most_at_once = max(outer.most_at_once, outer._now)
                try:
                    outer._play(self, script(number, body))
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True
                finally:
                    with outer._lock:
                        outer._now -= 1

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @staticmethod
    def _play(handler: BaseHTTPRequestHandler, act: Act) -> None:
        time.sleep(act.delay)
        if act.drop:
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        raw = act.body.encode()
        handler.send_response(act.status)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(raw)))
        for name, value in act.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(raw[: len(raw) // 2] if act.cut else raw)
        handler.wfile.flush()
        if act.cut:
            handler.close_connection = True

    def __enter__(self) -> "ScriptedServer":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._server.server_close()


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
