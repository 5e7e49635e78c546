"""The hub loader against a small hub of our own on 127.0.0.1, through the real `datasets` and `huggingface_hub`."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from steps.contracts.errors import InputError, InputNotFoundError, ServiceError
from steps.ingest.config import SourceConfig
from steps.ingest.hub import hub_error

COMMIT = "5" * 40
ROWS = b"".join(json.dumps({"question": f"q{i}", "answer": f"a{i}"}).encode() + b"\n" for i in range(7))
FILES = {"train.jsonl": ROWS}


class Hub(http.server.BaseHTTPRequestHandler):
    """Data set o/open at one commit; o/gated exists, but isn't for everyone; nothing else is there."""

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if "o/gated" in path:
            self.answer(403, {"error": "gated"}, {"X-Error-Code": "GatedRepo"})
        elif "o/open" not in path:
            self.answer(404, {"error": "no"}, {"X-Error-Code": "RepoNotFound"})
        elif COMMIT not in path:
            self.answer(404, {"error": "no"}, {"X-Error-Code": "RevisionNotFound"})
        elif path.startswith("/api/datasets/o/open/revision/"):
            siblings = [{"rfilename": name} for name in FILES]
            self.answer(200, {"id": "o/open", "sha": COMMIT, "siblings": siblings, "private": False, "tags": []})
        elif path.startswith("/api/datasets/o/open/tree/"):
            self.answer(200, entries())
        elif path.rsplit("/", 1)[1] in FILES:
            self.file(FILES[path.rsplit("/", 1)[1]])
        else:
            self.answer(404, {"error": "no"}, {"X-Error-Code": "EntryNotFound"})

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.answer(200, [e for e in entries() if e["path"] in asked] if "o/open" in self.path else [])

    def answer(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        self.send(status, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})})

    def file(self, content: bytes) -> None:
        digest = hashlib.sha1(content).hexdigest()
        self.send(200, content, {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"})

    def send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def entries() -> list[dict[str, object]]:
    return [
        {"type": "file", "path": name, "size": len(b), "oid": hashlib.sha1(b).hexdigest()} for name, b in FILES.items()
    ]


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


CHILD = """
import json, sys
from pathlib import Path
from steps.ingest.config import IngestConfig, SourceConfig
from steps.ingest.hub import hub_rows
from steps.ingest.ingest import ingest
from steps.contracts.context import StageContext
from steps.contracts.errors import AssayError
for hub, revision, split in json.loads(sys.argv[1]):
    source = SourceConfig(name="h", hub=hub, revision=revision, split=split)
    try:
        got = ingest(None, IngestConfig(sources=(source,)), StageContext(Path(sys.argv[2])))
        rows = list(got.rows.iter_rows())
        print(json.dumps([[r["source"], r["locator"], [m["content"] for m in r["messages"]]] for r in rows]))
    except AssayError as e:
        print(json.dumps(f"{type(e).__name__}: {e}"))
"""


def asked(tmp_path: Path, endpoint: str, sources: list[list[str]], **env: str) -> list[object]:
    cache = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(sources), str(tmp_path / "out")],
        env={**os.environ, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1", **cache, **env},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_rows_and_errors_of_the_hub(hub: str, tmp_path: Path) -> None:
    sources = [
        ["o/open", COMMIT, "train"], ["o/open", COMMIT, "dev"], ["o/open", "6" * 40, "train"],
        ["o/gated", COMMIT, "train"], ["o/none", COMMIT, "train"],
    ]  # fmt: skip
    rows, split, revision, gated, missing = asked(tmp_path, hub, sources)
    assert rows == [["h/train", f"row:{i + 1}", [f"q{i}", f"a{i}"]] for i in range(7)]
    assert "InputNotFoundError" in split and "no such subset or split" in split and "dev" in split
    assert "InputNotFoundError" in revision and "no such revision" in revision
    assert "InputError" in gated and "gated" in gated and "HF_TOKEN" in gated
    assert "InputNotFoundError" in missing and "no such data set" in missing
    again, other, absent = asked(tmp_path, hub, [sources[0], sources[2], sources[4]], HF_HUB_OFFLINE="1")
    assert again == rows
    assert "InputNotFoundError" in other and "the cache holds another revision only" in other
    assert "offline (HF_HUB_OFFLINE), and not in the cache" in absent


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (ConnectionError("x"), ServiceError, "doesn't answer"),
        (ValueError("Unknown split"), InputNotFoundError, "no such subset or split"),
        (RuntimeError("Dataset scripts are no longer supported"), InputError, "RuntimeError"),
    ],
)
def test_an_error_gets_its_way_out(monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type, words: str) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    got = hub_error(error, SourceConfig(name="h", hub="o/n", revision=COMMIT))
    assert type(got) is kind and words in str(got) and "o/n@555555555555" in str(got) and got.hint
