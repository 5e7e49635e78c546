"""A server that takes OpenLineage events, and the specification that they are held against."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource

_SPEC = Path(__file__).resolve().parents[1] / "pipelines" / "openlineage" / "spec"
Event = dict[str, Any]


def registry() -> Registry:
    """The specification's files, by what they call themselves; nothing is fetched."""
    texts = (json.loads(file.read_text()) for file in sorted(_SPEC.rglob("*.json")))
    return Registry().with_resources((text["$id"], Resource.from_contents(text)) for text in texts)


def mistakes(event: Event) -> list[str]:
    """What the specification has against an event, its facets by the schemas that they name; []: nothing."""
    found = registry()
    url = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
    wrong = _wrong(event, url, found)
    for path, facet in facets(event):
        wrong += [f"{path}: {why}" for why in _wrong(facet, facet["_schemaURL"], found)]
    return wrong


def facets(value: Any, path: str = "") -> Iterator[tuple[str, Event]]:
    """Every facet of an event, by its path."""
    if isinstance(value, dict):
        if "_schemaURL" in value:
            yield path, value
        for name, below in value.items():
            yield from facets(below, f"{path}/{name}")
    elif isinstance(value, list):
        for below in value:
            yield from facets(below, path)


def _wrong(value: Any, url: str, found: Registry) -> list[str]:
    checker = Draft202012Validator({"$ref": url}, registry=found, format_checker=FormatChecker())
    return [f"{e.json_path}: {e.message}" for e in checker.iter_errors(value)]


class Received(list[Event]):
    """Events in the order that they came in, and the headers of each request."""

    def __init__(self) -> None:
        super().__init__()
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []

    def of(self, job: str) -> list[Event]:
        """Those of one job."""
        return [e for e in self if e["job"]["name"] == job]


@contextmanager
def lineage_server(status: int = 201) -> Iterator[tuple[str, Received]]:
    """A server on this machine that answers with `status`: its URL, and what it is told."""
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(json.loads(body))
            received.headers.append(dict(self.headers))
            received.paths.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
