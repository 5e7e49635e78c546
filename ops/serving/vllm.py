"""A model, and adapters over it, behind the server, run by vLLM where it is installed and there is a GPU.

(Written by vLLM's documentation; it was not run against vLLM, which needs a GPU.)
"""

import http.client
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ops.serving.loading import Models
from steps.contracts.errors import ConfigError, MissingDependencyError, ServiceError
from steps.engines.completions.token_completions import TokenCompleter
from steps.engines.exports.adapter import adapter_refusals
from steps.engines.lm.load import adapter_path, earlier_adapters, load_without_weights, weights_path
from steps.engines.subjects.local_model import Inference, LocalModel
from steps.engines.template.effective import config_of

_PROGRAM, _TETHER = "vllm", Path(__file__).with_name("tether.py")
# Ranks that vLLM makes room for.
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
# Chosen: seconds until a large model is loaded and its graphs are captured.
_PATIENCE = 1800
_FINE = 200


def vllm_is_here() -> bool:
    """Whether vLLM is installed, and a GPU is there for it."""
    if find_spec(_PROGRAM) is None:
        return False
    import torch

    return bool(torch.cuda.is_available())


class VllmEngine:
    """vLLM's server over one base, with adapters by name. `scratch`: a folder for its log."""

    name = "vLLM"

    def __init__(self, models: Mapping[str, Models], inference: Inference, scratch: Path) -> None:
        """Look at the models' files.

        Raises:
            MissingDependencyError: vLLM isn't here. ConfigError: it can't take the models so.
        """
        if not vllm_is_here():
            raise MissingDependencyError("vLLM isn't installed, or there is no GPU", hint="--engine transformers")
        self._models, self._inference, self._log = models, inference, scratch / "vllm.log"
        self.parallel = inference.batch_size
        self._writers = {name: _writer(name, one, inference) for name, one in models.items()}
        self.window = min(writer.window for writer in self._writers.values())
        self.room = self.parallel * self.window
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> TokenCompleter:
        """As `Engine.start`."""
        key, port = secrets.token_hex(16), _free_port()
        command = [sys.executable, str(_TETHER), *launch(self._models, self._inference, self.window, port)]
        environment = {**os.environ, "VLLM_API_KEY": key, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment)
        deadline = time.monotonic() + _PATIENCE
        while not _answers(port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise ServiceError(f"vLLM doesn't come up: {self._last_words()}")
            time.sleep(0.5)
        return TokenCompleter(f"http://127.0.0.1:{port}", key, {n: w.ends for n, w in self._writers.items()})

    def wait(self) -> int:
        """As `Engine.wait`."""
        assert self._process is not None
        return self._process.wait()

    def stop(self) -> None:
        """As `Engine.stop`."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()

    def writers(self) -> Mapping[str, LocalModel]:
        """How each model is asked."""
        return self._writers

    def _last_words(self) -> str:
        return (self._log.read_text(errors="replace").strip().splitlines() or ["no word"])[-1][:300]


def launch(models: Mapping[str, Models], inference: Inference, window: int, port: int) -> list[str]:
    """vLLM's command: the base under the name of the model that is it, adapters under theirs. Sampling comes with each
    request, nothing of it from the model's generation_config.json.

    Raises:
        ConfigError: the models don't lie over one base, or an adapter is none that vLLM takes.
    """
    whole = {name: tuned if tuned is not None and tuned.info.kind == "full" else base
             for name, (base, tuned) in models.items()}  # fmt: skip
    adapters = {name: tuned for name, (_, tuned) in models.items() if tuned is not None and tuned is not whole[name]}
    first = next(iter(whole.values()))
    if other := [name for name, one in whole.items() if one.info.digest != first.info.digest]:
        raise ConfigError("it doesn't lie over the same base as the others", where=other[0],
                          hint="give it a server of its own")  # fmt: skip
    # One that nobody can ask for by name, where every model is an adapter.
    own = [name for name in models if name not in adapters] or [secrets.token_hex(8)]
    ranks = [_rank(name, adapter_path(one)) for name, one in adapters.items()]
    for name, one in adapters.items():
        if earlier_adapters(one):
            raise ConfigError("vLLM lays no adapter over another one", where=name, hint="assay export --to merged")
    found = [
        shutil.which(_PROGRAM, path=str(Path(sys.executable).parent)) or shutil.which(_PROGRAM) or _PROGRAM,
        "serve", str(weights_path(first)), "--host", "127.0.0.1", "--port", str(port), "--served-model-name", *own,
        "--dtype", inference.dtype, "--max-model-len", str(window), "--max-num-seqs", str(inference.batch_size),
        "--seed", "0", "--generation-config", _PROGRAM,
    ]  # fmt: skip
    if adapters:
        paths = [json.dumps({"name": name, "path": str(adapter_path(one))}) for name, one in adapters.items()]
        found += ["--enable-lora", "--max-loras", str(len(adapters)), "--max-lora-rank", str(max(ranks))]
        found += ["--lora-modules", *paths]
    return found


def _rank(name: str, folder: Path) -> int:
    """The room that an adapter needs."""
    config: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    rank = int(config["r"])
    refused = adapter_refusals(folder, config)
    room = next((r for r in _RANKS if r >= rank), None)
    if refused or room is None:
        what = refused[0] if refused else f"vLLM takes ranks up to {_RANKS[-1]}, this one has {rank}"
        raise ConfigError(what, where=name, hint="assay export --to merged, and serve that")
    return room


def _writer(name: str, models: Models, inference: Inference) -> LocalModel:
    base, tuned = models
    info = (tuned or base).info
    return LocalModel(name, info.digest, load_without_weights(base, tuned), inference, config_of(info.template))


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == _FINE
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
