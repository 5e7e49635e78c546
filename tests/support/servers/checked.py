"""A cloud's REST server of the tests: it keeps what it is given, unless the cloud's own library is against it."""

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    body: Any
    token: str


class Refused(Exception):
    """What the cloud answers with this status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


# A status, the body, further headers.
Reply = tuple[int, Any, dict[str, str]]


class Schema:
    """The library in a process of its own, asked line by line."""

    def __init__(self, python: str, script: Path) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen([python, str(script)], **pipes)
        self._lock = threading.Lock()
        self.checked = 0

    def check(self, **asked: Any) -> None:
        """Raises Refused where the library does."""
        with self._lock:
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
            assert line, "the library's process has ended"
            self.checked += 1
        if line.strip():
            raise Refused(400, line.strip())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(30)


@dataclass
class Server:
    url: str
    seen: list[Request] = field(default_factory=list)


@contextmanager
def serving(reply: Callable[[Request], Reply]) -> Iterator[Server]:
    """Runs it while the test does."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            raw = self.rfile.read(length)
            is_json = "json" in self.headers.get("Content-Type", "")
            parts = urlsplit(self.path)
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            said = json.loads(raw) if raw and is_json else None
            request = Request(self.command, parts.path, dict(parse_qsl(parts.query)), said, token)
            server.seen.append(request)
            try:
                status, body, headers = reply(request)
            except Refused as e:
                status, body, headers = e.status, {"error": {"code": e.status, "message": str(e)}}, {}
            data = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            told = {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}
            for name, value in told.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        setattr(Handler, f"do_{method}", Handler._answer)
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = Server(f"http://127.0.0.1:{http.server_port}")
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
