"""A GGUF file behind the server: found by a name, run by llama.cpp."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steps.contracts.digests import file_digest
from steps.contracts.errors import ConfigError, InputError, InputNotFoundError
from steps.engines.completions.llama_cpp import LlamaCompleter
from steps.engines.exports.exported_folder import MANIFEST, read_manifest, verify_files
from steps.engines.exports.gguf.llama_process import LlamaProcess, LlamaSettings, require_server
from steps.engines.exports.gguf.vocabulary import GgufFile, GgufTokenizer, read_gguf
from steps.engines.subjects.local_model import Inference
from steps.engines.subjects.prompt_writer import PromptWriter
from steps.engines.template.config import TemplateConfig

_SUFFIX, _FORMAT = ".gguf", "gguf"


@dataclass(frozen=True)
class GgufModel:
    """A file to be run.

    Attributes:
        sha256: of the file.
        digest: of the weights that it was exported from; of the file itself, where nobody recorded those.
        dtype: number format; "": not known.
        config: the settings of its chat template.
        run: that made the weights; None: not known.
    """

    file: Path
    sha256: str
    digest: str
    dtype: str = ""
    config: TemplateConfig = field(default_factory=TemplateConfig)
    run: str | None = None


def find_gguf(text: str) -> GgufModel | None:
    """The GGUF file that a name means, or the one in an exported folder, held against its manifest; None: another kind
    of model is meant.

    Raises:
        InputNotFoundError: there is no such file. IntegrityError: it isn't the one that was exported.
    """
    path = Path(text).expanduser()
    if path.is_dir():
        if not (path / MANIFEST).is_file() or read_manifest(path).format != _FORMAT:
            return None
        (name,) = (name for name in read_manifest(path).files if name.endswith(_SUFFIX))
        return _exported(path / name)
    if path.suffix != _SUFFIX:
        return None
    if not path.is_file():
        raise InputNotFoundError("no such file", where=text)
    path = path.resolve()
    manifest = path.parent / MANIFEST
    if manifest.is_file() and path.name in read_manifest(path.parent).files:
        return _exported(path)
    digest = file_digest(path)
    return GgufModel(path, digest, digest)


def _exported(file: Path) -> GgufModel:
    manifest = verify_files(file.parent)
    settings: Any = manifest.facts.get("template")
    config = TemplateConfig.model_validate(settings or {})
    return GgufModel(file, manifest.files[file.name], manifest.model, manifest.dtype, config, manifest.run)


def refuse_layers(over: str | None, adapters: Sequence[str] = ()) -> None:
    """Raises ConfigError where something is to lie over or under a GGUF file."""
    for given, where in ((adapters, "--adapter"), (over, "--over")):
        if given:
            raise ConfigError("llama.cpp serves one GGUF file, whose weights are merged", where=where,
                              hint="export each model, and give it a server of its own")  # fmt: skip


class LlamaEngine:
    """llama.cpp over one file.

    Args:
        scratch: a folder for its log.
    """

    name = "llama.cpp"

    def __init__(self, model: GgufModel, inference: Inference, scratch: Path) -> None:
        """Read what the file says of itself.

        Raises: as `read_gguf`; MissingDependencyError: llama.cpp isn't installed. InputError: it has no chat template.
        ConfigError: it is to run on another device than the CPU.
        """
        require_server()
        if inference.device not in ("auto", "cpu"):
            raise ConfigError("llama.cpp runs on the CPU here", where=f"device={inference.device}",
                              hint="--engine transformers, of the model that was exported")  # fmt: skip
        self._model, self._inference, self._log = model, inference, scratch / "llama.log"
        self._said: GgufFile = read_gguf(model.file)
        if self._said.template is None:
            raise InputError("the file has no chat template: nothing can be asked", where=model.file.name)
        self.window = min(inference.max_length or self._said.context, self._said.context)
        self.room = max(self.window, min(inference.batch_tokens, inference.batch_size * self.window))
        self.parallel = inference.batch_size
        self._process: LlamaProcess | None = None
        self._completer: LlamaCompleter | None = None

    def start(self) -> LlamaCompleter:
        """As `Engine.start`."""
        settings = LlamaSettings(self.room, self.parallel, self._inference.num_threads, tells_special=True)
        process = LlamaProcess(self._model.file, settings, self._log)
        self._process, self._completer = process, LlamaCompleter(process.address, process.key, remembers=True)
        return self._completer

    def wait(self) -> int:
        """As `Engine.wait`."""
        assert self._process is not None
        return self._process.wait()

    def stop(self) -> None:
        """As `Engine.stop`."""
        if self._process is not None:
            self._process.stop()

    def writer(self) -> PromptWriter:
        """How it is asked: by the file's own template, rendered as an evaluation does it, and llama.cpp's tokens.

        Raises:
            ServiceError: (of what is asked by it) llama.cpp doesn't answer.
        """
        tokenizer = GgufTokenizer(self._said, self._model.file.name, self._tokens)
        return PromptWriter(tokenizer, self._model.config, self.window)

    def _tokens(self, text: str) -> list[int]:
        assert self._completer is not None
        return self._completer.tokens(text)


def described(name: str, model: GgufModel) -> Mapping[str, Any]:
    """The file for /v1/models."""
    dtype = {"dtype": model.dtype} if model.dtype else {}
    return {"id": name, "object": "model", "created": 0, "owned_by": "assay", "digest": model.digest,
            "file": model.sha256, "engine": LlamaEngine.name, **dtype}  # fmt: skip
