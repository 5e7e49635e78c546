"""What a GGUF file says of its model, held against the folder that it was made from."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steps.contracts.errors import IntegrityError

# Of a few hundred keys those that decide over the answers and can go wrong unseen in short ones.
_KEPT = (
    "general.architecture", "general.file_type", "tokenizer.ggml.model", "tokenizer.ggml.pre",
    "tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
    "tokenizer.ggml.add_bos_token",
)  # fmt: skip
_ROPE = ".rope."
# llama.cpp's where a file says none, as of Gemma 2.
_ROTARY_BASE = 10_000.0


def checked_metadata(file: Path, model: Path, template: str | None) -> dict[str, Any]:
    """The metadata that is recorded. `model`: the folder of full weights that was converted; `template`: its own.

    Raises:
        IntegrityError: template, context, rotary base or vocabulary are other ones.
    """
    from gguf import GGUFReader

    fields = GGUFReader(str(file)).fields
    kind = str(fields["general.architecture"].contents())
    config = json.loads((model / "config.json").read_text("utf-8"))
    config = config.get("text_config") or config
    _same("chat template", _said(fields, "tokenizer.chat_template"), template, file)
    if (positions := config.get("max_position_embeddings")) is not None:
        _same("context length", _said(fields, f"{kind}.context_length"), positions, file)
    if (base := _rotary_base(config)) is not None:
        _same("rotary base", _said(fields, f"{kind}.rope.freq_base") or _ROTARY_BASE, base, file)
    _same("vocabulary", len(fields["tokenizer.ggml.tokens"].data), config.get("vocab_size"), file)
    found = {name: _said(fields, name) for name in (*_KEPT, *(n for n in fields if _ROPE in n))}
    return {name: value for name, value in found.items() if value is not None}


def _said(fields: Mapping[str, Any], name: str) -> Any:
    return fields[name].contents() if name in fields else None


def _rotary_base(config: Mapping[str, Any]) -> float | None:
    """None where layers have several, or the config doesn't say."""
    rope = config.get("rope_parameters") or {}
    return rope.get("rope_theta") or config.get("rope_theta")


def _same(what: str, found: Any, expected: Any, file: Path) -> None:
    if found == expected or (isinstance(found, float) and abs(found - expected) <= 1e-6 * abs(expected)):
        return
    raise IntegrityError(
        f"the file's {what} is {str(found)[:80]!r}, the model's {str(expected)[:80]!r}", where=file.name,
        hint="nothing was written",
    )  # fmt: skip
