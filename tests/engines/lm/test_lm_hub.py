"""A hub of our own on the loopback, speaking the few routes that huggingface_hub asks for."""

import hashlib
import json
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch

from steps.base.base import resolve_base
from steps.base.config import BaseConfig
from steps.contracts.errors import InputNotFoundError, ServiceError
from steps.contracts.models import BaseRef, ModelFolder, ModelInfo
from steps.engines.lm.hub import download, is_commit, resolve_revision
from steps.engines.lm.load import load

COMMIT = "a" * 40


class FakeHub:
    """Serves one model, owner/tiny, at COMMIT and as main; owner/gated is gated; nothing else exists."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        files = {p.name: p.read_bytes() for p in folder.iterdir()} | {"pytorch_model.bin": b"\x80", "run.py": b"1"}
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None: ...

            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                path = self.path.split("?")[0]
                hub.asked.append(path)
                if "gated" in path:
                    self.answer(403, b"{}", {"X-Error-Code": "GatedRepo"})
                elif "owner/tiny" not in path:
                    self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
                elif path.startswith("/api/models/"):
                    self.metadata(path)
                else:
                    self.file(path)

            def metadata(self, path: str) -> None:
                if "/tree/" in path:
                    tree = [{"type": "file", "path": n, "size": len(d), "oid": "0" * 40} for n, d in files.items()]
                    self.answer(200, json.dumps(tree).encode(), {"Content-Type": "application/json"})
                    return
                revision = path.split("/revision/")[1] if "/revision/" in path else "main"
                if revision not in ("main", COMMIT):
                    self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
                    return
                body = {"id": "owner/tiny", "sha": COMMIT, "siblings": [{"rfilename": n} for n in sorted(files)]}
                self.answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

            def file(self, path: str) -> None:
                data = files[path.rsplit("/", 1)[1]]
                etag = f'"{hashlib.sha256(data).hexdigest()}"'
                self.answer(200, data, {"X-Repo-Commit": COMMIT, "ETag": etag})

            def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for key, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(key, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def hub(tiny: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    from huggingface_hub import constants

    assert tiny.path is not None
    fake = FakeHub(tiny.path)
    monkeypatch.setenv("HF_ENDPOINT", fake.address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


def reference(revision: str) -> ModelFolder:
    ref = BaseRef(source="hub", name="owner/tiny", revision=revision)
    return ModelFolder(ModelInfo(kind="full", base=ref, digest="", files={}, parameters=1), None)


def test_a_commit_is_itself_and_a_branch_is_resolved(hub: FakeHub) -> None:
    assert is_commit(COMMIT) and not is_commit("main") and not is_commit(None)
    assert resolve_revision("owner/tiny", COMMIT) == COMMIT
    assert hub.asked == []
    assert resolve_revision("owner/tiny", "main") == COMMIT
    assert resolve_revision("owner/tiny", None) == COMMIT


def test_a_pinned_model_is_fetched_without_pickle_or_code_and_loads(hub: FakeHub, tiny: ModelFolder) -> None:
    folder = download("owner/tiny", COMMIT)
    assert {p.suffix for p in folder.iterdir()} <= {".safetensors", ".json", ".jinja"}
    ids = torch.tensor([[3, 4, 5]])
    with torch.no_grad():
        here = load(tiny, device="cpu").model(input_ids=ids).logits
        there = load(reference(COMMIT), device="cpu").model(input_ids=ids).logits
    assert torch.equal(here, there)


def test_base_is_pinned_and_a_moving_name_warns(hub: FakeHub, tiny: ModelFolder, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=f"resolved to commit {COMMIT}"):
        moving = resolve_base(BaseConfig(model="owner/tiny", revision="main"), tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        pinned = resolve_base(BaseConfig(model="owner/tiny", revision=COMMIT), tmp_path)
    assert moving.path is None and moving.info.base == pinned.info.base
    assert pinned.info.base.revision == COMMIT and pinned.info.parameters == tiny.info.parameters
    assert pinned.info.notes == () and "main" in moving.info.notes[0]
    with pytest.raises(InputNotFoundError, match="no such model"):
        resolve_base(BaseConfig(model="owner/other"), tmp_path)


def test_missing_gated_and_unknown_revision_say_so(hub: FakeHub) -> None:
    with pytest.raises(InputNotFoundError, match="no such model"):
        resolve_revision("owner/other", None)
    with pytest.raises(InputNotFoundError, match="gated"):
        resolve_revision("owner/gated", None)
    with pytest.raises(InputNotFoundError, match="no such revision"):
        resolve_revision("owner/tiny", "v9")
    with pytest.raises(InputNotFoundError, match="hub id"):
        resolve_revision("not/a/hub/id", None)


@pytest.mark.slow  # the hub's client tries again for a while
def test_an_unreachable_hub_is_a_service_error(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ServiceError, match="reached"):
        resolve_revision("owner/tiny", "main")
    with pytest.raises(ServiceError, match="reached"):
        download("owner/tiny", COMMIT)


def test_offline_is_a_service_error_with_a_way_out(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ServiceError, match="HF_HUB_OFFLINE"):
        download("owner/tiny", COMMIT)
    assert hub.asked == []
