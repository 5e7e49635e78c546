"""How vLLM is started and asked, by a stand-in that takes its command line and answers in its form. vLLM itself needs a
GPU, and was not run.
"""

import json
import os
import stat
import sys
import textwrap
import time
from pathlib import Path

import pytest
from support.processes import children
from support.tuned_models import adapted
from test_engine_desk import ask

from ops.serving import vllm
from ops.serving.desk import End
from ops.serving.engine_desk import EngineDesk
from ops.serving.vllm import VllmEngine, launch
from steps.contracts.errors import ConfigError, MissingDependencyError, ServiceError
from steps.contracts.models import ModelFolder
from steps.engines.subjects.local_model import Inference

CPU = Inference(device="cpu", batch_size=2)
# Says the letters of the adapter's name, then the end token, and a token behind it.
PROGRAM = f"""#!{sys.executable}
import json, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
if "dies" in os.environ:
    sys.exit("CUDA out of memory")
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def do_POST(self):
        assert self.headers["Authorization"] == "Bearer " + os.environ["VLLM_API_KEY"]
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert asked["return_token_ids"] and not asked["skip_special_tokens"] and asked["stream"]
        self.send_response(200); self.end_headers()
        ids = [40, 41, *asked["stop_token_ids"][:1], 42][: asked["max_tokens"]]
        for n, token in enumerate(ids):
            finish = "stop" if n == 2 else "length" if n == asked["max_tokens"] - 1 else None
            choice = {{"index": 0, "text": "x", "token_ids": [token], "finish_reason": finish}}
            self.wfile.write(b"data: " + json.dumps({{"choices": [choice]}}).encode() + b"\\n\\n")
            if finish == "stop":
                break
        self.wfile.write(b"data: [DONE]\\n\\n")
    def log_message(self, *_):
        pass
port = int(sys.argv[sys.argv.index("--port") + 1])
ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "bin" / "vllm"
    file.parent.mkdir()
    file.write_text(textwrap.dedent(PROGRAM))
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{file.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(vllm, "vllm_is_here", lambda: True)
    return file


@pytest.fixture(scope="module")
def adapter(tiny_model: ModelFolder, tmp_path_factory) -> ModelFolder:
    return adapted(tiny_model, tmp_path_factory.mktemp("adapter"))


def test_its_command_names_base_adapters_and_room(tiny_model, adapter) -> None:
    command = launch({"base": (tiny_model, None), "shop": (tiny_model, adapter)}, CPU, 512, 7)[1:]
    module = json.dumps({"name": "shop", "path": str(adapter.path)})
    assert command == [
        "serve", str(tiny_model.path), "--host", "127.0.0.1", "--port", "7", "--served-model-name", "base", "--dtype",
        "float32", "--max-model-len", "512", "--max-num-seqs", "2", "--seed", "0", "--generation-config", "vllm",
        "--enable-lora", "--max-loras", "1", "--max-lora-rank", "8", "--lora-modules", module,
    ]  # fmt: skip
    alone = launch({"shop": (tiny_model, adapter)}, CPU, 512, 7)
    assert alone[alone.index("--served-model-name") + 1] not in ("shop", "base"), "nobody gets at the bare base"


def test_what_it_does_not_take_is_refused_before_it_starts(tiny_model, adapter, tmp_path) -> None:
    with pytest.raises(MissingDependencyError, match="vLLM isn't installed, or there is no GPU"):
        VllmEngine({"m": (tiny_model, None)}, CPU, tmp_path)
    for change, words in (({"use_dora": True}, "vLLM takes no DoRA"), ({"r": 4}, "no partner of rank 4"),
                          ({"modules_to_save": ["lm_head"]}, "takes no modules_to_save")):  # fmt: skip
        folder = tmp_path / words.replace(" ", "-")
        folder.mkdir()
        for file in adapter.path.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(ConfigError, match=words) as found:
            launch({"m": (tiny_model, ModelFolder(adapter.info, folder))}, CPU, 512, 7)
        assert found.value.where == "m" and "merged" in found.value.hint


@pytest.mark.slow
def test_it_is_asked_by_token_ids_and_ends_with_its_server(program, tiny_model, adapter, tmp_path, monkeypatch) -> None:
    models = {"m": (tiny_model, None), "shop": (tiny_model, adapter)}
    engine, others = VllmEngine(models, CPU, tmp_path), children()
    with EngineDesk(engine, engine.writers) as desk:
        (tether,) = children() - others
        (server,) = tether.children()
        assert "serve" in server.cmdline() and "VLLM_API_KEY" in server.environ()
        for more in ({}, {"pieces": True}):
            _, told, done = ask(desk, "hello", **more)
            assert done.wait(20)
            assert isinstance(told[-1], End), told
            assert (told[-1].ids, told[-1].completion, told[-1].cut) == ((40, 41), 2, False)
        tether.kill()
        for _ in range(100):
            if not server.is_running():
                break
            time.sleep(0.1)
        assert not server.is_running(), "it goes with what held it"
        for _ in range(100):
            if children() - others and desk._completer is not None:
                break
            time.sleep(0.1)
        _, told, done = ask(desk, "again")
        assert done.wait(20) and isinstance(told[-1], End)
        (tether,) = children() - others
        (server,) = tether.children()
    assert not server.is_running() and children() == others
    monkeypatch.setenv("dies", "1")
    with pytest.raises(ServiceError, match="vLLM doesn't come up: CUDA out of memory"):
        engine.start()
