"""One GGUF file, for llama.cpp, Ollama, LM Studio: made by llama.cpp's own converter from the merged weights."""

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from steps.contracts.errors import ConfigError
from steps.contracts.storage import write_whole
from steps.engines.exports.folder_format import Options, Runtime, Source, Written, chosen_dtype, require_writes_text
from steps.engines.exports.gguf.converter import (
    convert,
    converter_folder,
    known_architectures,
    quantize,
    require_quantizer,
    splitting_rule,
)
from steps.engines.exports.gguf.llama_runtime import llama_runtime, require_llama
from steps.engines.exports.gguf.metadata import checked_metadata
from steps.engines.exports.gguf.tokenizer_files import SENTENCEPIECE, further_ends, swallows, write_tokenizer_files
from steps.engines.exports.merged import save_merged
from steps.engines.exports.ollama.modelfile import MODELFILE, facts_of, modelfile, proof_for
from steps.engines.lm.load import weights_path
from steps.engines.lm.quiet import without_bars
from steps.engines.template.effective import changed, config_of, without_clock

_DEFAULT = "f16"
# Made from 16 bits by the quantizer; the converter itself writes the others.
_QUANTIZED: Mapping[str, str] = {"q4_k_m": "Q4_K_M"}
# llama.cpp knows by this in a model's name that special tokens swallow the white space behind them, and looks then for
# these tokens, of which all but the first don't (llama-vocab.cpp).
_PHI_3, _WITHOUT = "phi-3 ", ("</s>", "<unk>", "<s>", "<|endoftext|>")
# Tokens of context: enough to ask for a few.
_SHORT = 512
_ORIGIN, _TEMPLATE = "weights", "chat_template.jinja"


def require_convertible(dtype: str, named: Path | None, architectures: Sequence[str]) -> None:
    """Refuse what can be told before there is a model: what isn't here, and an architecture without a class.

    Raises:
        MissingDependencyError, ConfigError: as `Gguf.write`.
    """
    require_llama()
    folder = converter_folder(named)
    if dtype in _QUANTIZED:
        require_quantizer(folder, _QUANTIZED[dtype])
    known = known_architectures(folder)
    if unknown := [a for a in architectures if a not in known]:
        raise ConfigError(f"llama.cpp has no architecture {unknown[0]}", where="--to gguf", hint="--to merged")


class Gguf:
    """The file carries weights, tokenizer and chat template."""

    # Chosen: some times the widest that the tests' models and the quickstart's had (0, 0.001, 0.06, 0.005).
    epsilons: Mapping[str, float] = MappingProxyType(
        {"f32": 0.01, "f16": 0.05, "bf16": 0.25, "q8_0": 0.5, "q4_k_m": 2.0}
    )

    def write(self, source: Source, folder: Path, options: Options, scratch: Path) -> Written:
        """`model-f16.gguf`, and so on, with a Modelfile for Ollama.

        Raises: as `convert` and `quantize`; IntegrityError: the file says something else of the model.
        """
        require_writes_text(source)
        dtype = chosen_dtype(options.dtype, self.epsilons, _DEFAULT)
        require_llama()
        llama = converter_folder(options.llama_cpp)
        merged = scratch / _ORIGIN
        with without_bars():
            template = save_merged(source, merged, "float32")
        if template is not None:
            # llama.cpp has a clock of its own, and would write today's date where the model was trained with another.
            template = without_clock(template, config_of(source.model.info.template))
            (merged / _TEMPLATE).write_text(template, "utf-8")
        whole = weights_path(source.base) / SENTENCEPIECE
        if whole.is_file():
            shutil.copyfile(whole, merged / SENTENCEPIECE)
        told = write_tokenizer_files(merged)
        pre = options.pre_tokenizer or splitting_rule(merged / "tokenizer.json")
        out = folder / _name(dtype)
        plain = scratch / _name(_DEFAULT) if dtype in _QUANTIZED else out
        name = f"{_PHI_3 if swallows(merged, _WITHOUT) else ''}{source.model.info.digest[:12]}"
        written = _DEFAULT if dtype in _QUANTIZED else dtype
        converted = convert(llama, merged, plain, written, name, pre, scratch, further_ends(merged))
        notes = quantize(llama, plain, out, _QUANTIZED[dtype], scratch) if dtype in _QUANTIZED else []
        metadata = checked_metadata(out, merged, template)
        proof = "recognised by llama.cpp's converter" if converted.recognised else "by its rule, proven text by text"
        said = _write_modelfile(source, merged, out, template, options, scratch)
        facts = {"metadata": metadata, "pre_tokenizer": converted.pre_tokenizer, "pre_tokenizer_known": proof}
        if settings := changed(config_of(source.model.info.template)):
            facts["template"] = settings
        return Written(dtype, {**facts, "ollama": said[0]}, [*told, *_window_notes(merged), *notes, *said[1]])

    def opened(self, source: Source, folder: Path, options: Options, scratch: Path) -> AbstractContextManager[Runtime]:
        """In llama.cpp's server."""
        file = folder / _name(chosen_dtype(options.dtype, self.epsilons, _DEFAULT))
        return llama_runtime(file, options.context, scratch)


def _window_notes(merged: Path) -> list[str]:
    """llama.cpp has no sliding window for Phi-3, so that longer texts are other ones there."""
    config = json.loads((merged / "config.json").read_text("utf-8"))
    window = config.get("sliding_window")
    if config.get("model_type") != "phi3" or not window or window >= config["max_position_embeddings"]:
        return []
    return [
        f"the model looks {window} tokens back, llama.cpp at all of the text: behind longer ones it answers otherwise"
    ]


def _write_modelfile(
    source: Source, merged: Path, out: Path, template: str | None, options: Options, scratch: Path
) -> tuple[dict[str, Any], list[str]]:
    """Ollama's file beside `out`: what was proven of its template, and what its user must know."""
    with llama_runtime(out, _SHORT, scratch) as runtime:
        proof = proof_for(merged, template, adds_bos=runtime.adds_bos())
    context = json.loads((merged / "config.json").read_text("utf-8")).get("max_position_embeddings") or _SHORT
    facts = facts_of(merged, out.name, int(context), options.system, weights_path(source.base))
    text, notes = modelfile(facts, proof)
    write_whole(out.with_name(MODELFILE), text)
    return proof.model_dump(mode="json", exclude={"template"}), notes


def _name(dtype: str) -> str:
    return f"model-{dtype}.gguf"
