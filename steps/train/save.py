"""The trained model as a folder of safetensors and JSON, the same bytes on every machine."""

import json
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from steps.contracts.models import BaseRef, ModelFolder
from steps.contracts.storage import writing
from steps.engines.lm.folder import model_folder
from steps.train.config import TrainConfig


def save_model(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    base: BaseRef,
    config: TrainConfig,
    dataset_digest: str,
    end_tokens: list[int],
    folder: Path,
) -> ModelFolder:
    """Write weights, tokenizer, chat template and generation_config into `folder`, and describe it.

    Args:
        end_tokens: ids that end a trained turn; generation stops at them.
    """
    core = model.get_base_model() if config.method == "lora" else model
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    parameters = sum(p.numel() for p in model.parameters())
    notes = _stop_at(core.generation_config, end_tokens)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(str(folder))
        core.generation_config.save_pretrained(str(folder))
        tokenizer.save_pretrained(str(folder))
        # peft's model card names the base by its path on this machine.
        (folder / "README.md").unlink(missing_ok=True)
        if config.method == "lora":
            _portable_adapter_config(folder / "adapter_config.json", base)
    kind = "adapter" if config.method == "lora" else "full"
    return model_folder(
        folder,
        kind="adapter" if kind == "adapter" else "full",
        base=base,
        parameters=parameters,
        trainable=trainable,
        dataset_digest=dataset_digest,
        notes=notes,
    )


def _stop_at(generation_config: Any, end_tokens: list[int]) -> list[str]:
    known = generation_config.eos_token_id
    known = [] if known is None else [known] if isinstance(known, int) else list(known)
    new = [t for t in end_tokens if t not in known]
    if not new:
        return []
    generation_config.eos_token_id = sorted({*known, *new})
    return [f"generation_config now also stops at the token ids {new}, which end the trained turns"]


def _portable_adapter_config(file: Path, base: BaseRef) -> None:
    """Name the base instead of its path, and sort what peft writes in the order of a set."""
    content = json.loads(file.read_text())
    content["base_model_name_or_path"] = f"scratch:{base.digest}" if base.source == "scratch" else base.name
    content["revision"] = base.revision
    content = {k: sorted(v) if k == "target_modules" and isinstance(v, list) else v for k, v in content.items()}
    file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
