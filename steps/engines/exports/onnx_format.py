"""An ONNX graph of the merged weights, token ids to logits, for onnxruntime: for programs without PyTorch that score
texts, or generate by asking for one token at a time; it keeps no keys and values between them.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from steps.contracts.errors import ConfigError, MissingDependencyError
from steps.engines.exports.folder_format import Options, Runtime, Source, Written, chosen_dtype, require_writes_text
from steps.engines.exports.loaded_runtime import LoadedRuntime
from steps.engines.lm.ends import stop_ids
from steps.engines.lm.load import load_start
from steps.engines.lm.quiet import without_bars

_GRAPH, _IN, _OUT = "model.onnx", "input_ids", "logits"
_NO_CACHE = (
    "the graph keeps no keys and values: each token of an answer takes as long as reading all before it, and generation"
    " libraries that expect them don't take it"
)
# ONNX's operator set; chosen: what onnxruntime has had since 2024.
_OPSET = 20


class Onnx:
    """`model.onnx` with its weights, tokenizer, chat template, and what ends an answer."""

    # Chosen: some times the widest that the tests' models had (0).
    epsilons: Mapping[str, float] = MappingProxyType({"float32": 1e-3})

    def write(self, source: Source, folder: Path, options: Options, scratch: Path) -> Written:
        """In float32, for texts of any length that the model takes.

        Raises:
            ConfigError: PyTorch can't export this architecture. MissingDependencyError: the extra isn't installed.
        """
        require_writes_text(source)
        require_onnx()
        dtype = chosen_dtype(options.dtype, self.epsilons, "float32")
        with without_bars():
            loaded = load_start(source.base, source.tuned, dtype=dtype, device="cpu")
        loaded.model.generation_config.eos_token_id = stop_ids(loaded)
        loaded.model.generation_config.save_pretrained(str(folder))
        loaded.model.config.save_pretrained(str(folder))
        loaded.tokenizer.save_pretrained(str(folder))
        longest = getattr(loaded.model.config, "max_position_embeddings", None)
        _export(loaded.model, folder / _GRAPH, longest)
        return Written(dtype, {"opset": _OPSET, "inputs": [_IN], "outputs": [_OUT]}, [_NO_CACHE])

    def opened(self, source: Source, folder: Path, options: Options, scratch: Path) -> AbstractContextManager[Runtime]:
        """In onnxruntime, on the CPU."""
        return _opened(folder)


class _OnnxRuntime(LoadedRuntime):
    """The graph, and the tokenizer beside it."""

    def __init__(self, session: Any, ends: Any, tokenizer: Any) -> None:
        super().__init__(ends, tokenizer)
        self._session = session

    def next_tokens(self, prompt: Sequence[int], answer: Sequence[int]) -> list[int]:
        """One pass over prompt and answer."""
        import numpy as np

        ids = np.asarray([[*prompt, *answer]], dtype=np.int64)
        logits = self._session.run([_OUT], {_IN: ids})[0][0, len(prompt) - 1 : -1]
        return [int(i) for i in logits.argmax(-1)]

    def generate(self, prompt: Sequence[int], room: int) -> list[int]:
        """A token at a time, each by reading all before it."""
        said: list[int] = []
        while len(said) < room and not (said and self.ends_with(said[-1])):
            # Of the places of the answer so far and the next one only the last is new.
            said.append(self.next_tokens([*prompt, *said], [0])[0])
        return said


def require_onnx() -> None:
    """Raises MissingDependencyError where the extra isn't installed."""
    from importlib.util import find_spec

    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        what = f"ONNX graphs are written and checked with {', '.join(missing)}, which isn't installed"
        raise MissingDependencyError(what, hint="pip install 'assay[onnx]'")


def _export(model: Any, out: Path, longest: int | None) -> None:
    import torch

    class Logits(torch.nn.Module):
        """Without the cache, and with nothing but logits."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any) -> Any:
            """Logits (1, tokens, vocabulary) of token ids (1, tokens)."""
            return self.model(input_ids=input_ids, use_cache=False).logits

    model.set_attn_implementation("eager")
    # Each token by gathered weights of its experts: the loop over experts, and the grouped kernel, have no graph.
    model.set_experts_implementation("batched_mm")
    tokens = torch.export.Dim("tokens", min=2, max=longest)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                Logits().eval(), (torch.zeros((1, 8), dtype=torch.long),), str(out), dynamo=True, verbose=False,
                dynamic_shapes={_IN: {1: tokens}}, input_names=[_IN], output_names=[_OUT], opset_version=_OPSET,
            )  # fmt: skip
    except torch.onnx.OnnxExporterError as e:
        said = str(e.__cause__ or e).strip().splitlines()
        raise ConfigError(
            f"PyTorch can't export this architecture to ONNX: {said[0][:200] if said else type(e).__name__}",
            where="--to onnx", hint="--to merged, or --to gguf",
        ) from e  # fmt: skip


@contextmanager
def _opened(folder: Path) -> Iterator[Runtime]:
    import onnxruntime
    from transformers import AutoTokenizer

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / _GRAPH), settings, providers=["CPUExecutionProvider"])
    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    yield _OnnxRuntime(session, _Ends(folder), tokenizer)


class _Ends:
    """What stands for a model where only its ends are asked for."""

    def __init__(self, folder: Path) -> None:
        from transformers import GenerationConfig

        self.generation_config = GenerationConfig.from_pretrained(str(folder), local_files_only=True)
