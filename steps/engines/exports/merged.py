"""Full weights in safetensors, with tokenizer, chat template and what ends an answer: for transformers, vLLM, TGI."""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType

from steps.engines.exports.folder_format import Options, Runtime, Source, Written, chosen_dtype, require_writes_text
from steps.engines.exports.loaded_runtime import loaded_runtime
from steps.engines.lm.ends import stop_ids
from steps.engines.lm.load import load_start, weights_path
from steps.engines.lm.quiet import without_bars


class Merged:
    """An adapter is merged into its base in float32; the sum is then written in the number format that is asked for."""

    # Chosen: some times the widest that the tests' models and the quickstart's had (0, 0.0015, 0.036).
    epsilons: Mapping[str, float] = MappingProxyType({"float32": 1e-3, "float16": 0.05, "bfloat16": 0.25})

    def write(self, source: Source, folder: Path, options: Options, scratch: Path) -> Written:
        """`auto`: as the base, or the full weights in its place, are stored."""
        require_writes_text(source)
        dtype = chosen_dtype(options.dtype, self.epsilons, _stored(source))
        with without_bars():
            save_merged(source, folder, dtype)
        return Written(dtype, {})

    def opened(self, source: Source, folder: Path, options: Options, scratch: Path) -> AbstractContextManager[Runtime]:
        """In transformers, in the number format that is written."""
        return loaded_runtime(folder, folder, dtype=chosen_dtype(options.dtype, self.epsilons, _stored(source)))


def save_merged(source: Source, folder: Path, dtype: str) -> str | None:
    """Write full weights that need nothing else; returns their chat template, None where they have none."""
    loaded = load_start(source.base, source.tuned, dtype=dtype, device="cpu")
    # Whoever generates reads it there: what ends an answer by the template is known to nobody else.
    loaded.model.generation_config.eos_token_id = stop_ids(loaded)
    loaded.model.save_pretrained(str(folder), safe_serialization=True)
    loaded.tokenizer.save_pretrained(str(folder))
    template = loaded.tokenizer.chat_template
    return template.get("default") if isinstance(template, dict) else template


def _stored(source: Source) -> str:
    """The number format that a model is stored in; float32 where its config.json doesn't say, or says another."""
    whole = source.tuned if source.tuned is not None and source.tuned.info.kind == "full" else source.base
    described = json.loads((weights_path(whole) / "config.json").read_text("utf-8"))
    found = str(described.get("dtype") or described.get("torch_dtype"))
    return found if found in Merged.epsilons else "float32"
