"""A hub on this machine: it answers the calls that `huggingface_hub` makes to bring a folder to a data set or a model,
by LFS.

Not Hugging Face's: what is tested against it is that assay asks for the right things, not that the hub takes them.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

TOKEN = "hf_secret_of_the_test"
COMMIT = "c" * 40


@dataclass
class Repo:
    """A data set or a model: its files, and whether it is private."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)


@dataclass
class Hub:
    """What the server holds. `status`: answered to every call instead, where it is set."""

    repos: dict[str, Repo] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    status: int | None = None
    url: str = ""

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Status and JSON value."""
        match path.strip("/").split("/"):
            case ["api", "repos", "create"]:
                wanted = json.loads(body)
                name = "/".join(x for x in (wanted.get("organization"), wanted["name"]) if x)
                there = name in self.repos
                if not there:
                    self.repos[name] = Repo(bool(wanted.get("private")) or wanted.get("visibility") == "private")
                return 409 if there else 200, {"url": f"{self.url}/datasets/{name}"}
            case ["api", "validate-yaml"]:
                return 200, {"errors": [], "warnings": []}
            case ["api", "datasets" | "models", owner, name, *rest]:
                repo = self.repos.get(f"{owner}/{name}")
                return self._dataset(f"{owner}/{name}", repo, rest, body) if repo else (404, {"error": "not found"})
            case [*_, _, _, "info", "lfs", "objects", "batch"]:
                return 200, {"objects": [self._lfs(o) for o in json.loads(body)["objects"]]}
            case ["blob", oid] if method == "PUT":
                assert hashlib.sha256(body).hexdigest() == oid
                self.blobs[oid] = body
                return 200, {}
        return 404, {"error": f"no answer to {path}"}

    def _dataset(self, name: str, repo: Repo, rest: list[str], body: bytes) -> tuple[int, Any]:
        match rest:
            case ["preupload", _]:
                files = json.loads(body)["files"]
                mode = [{"path": f["path"], "uploadMode": _mode(f["path"]), "shouldIgnore": False} for f in files]
                return 200, {"files": mode}
            case ["commit", _]:
                self._commit(repo, [json.loads(line) for line in body.splitlines()])
                url = f"{self.url}/datasets/{name}/commit/{COMMIT}"
                return 200, {"commitUrl": url, "commitOid": COMMIT, "hookOutput": ""}
            case ["tree", *_]:
                return 200, [{"type": "file", "path": p, "size": len(b), "oid": "0"} for p, b in repo.files.items()]
        siblings = [{"rfilename": p} for p in repo.files]
        return 200, {"id": name, "private": repo.private, "sha": COMMIT, "siblings": siblings, "tags": []}

    def _lfs(self, wanted: Any) -> Any:
        upload = {"href": f"{self.url}/blob/{wanted['oid']}"}
        return {**wanted, "actions": {"upload": upload}}

    def _commit(self, repo: Repo, lines: list[Any]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                repo.messages.append(value["summary"])
            elif line["key"] == "file":
                repo.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                repo.files[value["path"]] = self.blobs[value["oid"]]
            elif line["key"] == "deletedFile":
                del repo.files[value["path"]]
            elif line["key"] == "deletedFolder":
                repo.files = {n: b for n, b in repo.files.items() if not n.startswith(value["path"])}


def _mode(path: str) -> str:
    return "lfs" if path.endswith(".parquet") else "regular"


@contextmanager
def serving() -> Iterator[Hub]:
    """The hub, while the block runs."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self._body()
            path = self.path.split("?")[0].replace(".git/", "/")
            hub.calls.append(f"{self.command} {path}")
            allowed = path.startswith("/blob/") or self.headers.get("authorization") == f"Bearer {TOKEN}"
            status, value = hub.answer(self.command, path, body) if allowed else (401, {"error": "who are you?"})
            if hub.status is not None:
                status, value = hub.status, {"error": "not today"}
            raw = json.dumps(value).encode()
            self.send_response(status)
            if status == 404 and path.startswith(("/api/datasets/", "/api/models/")):
                self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def _body(self) -> bytes:
            if self.headers.get("transfer-encoding") == "chunked":
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)
            return self.rfile.read(int(self.headers.get("content-length") or 0))

        do_GET = do_POST = do_PUT = do_HEAD = _serve  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub, which huggingface_hub takes for its own."""
    # Files go by LFS: the library's other way needs the hub's own storage servers.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with serving() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server
