"""The trained model as a folder of safetensors and JSON, the same bytes on every machine."""

from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from steps.contracts.models import BaseRef, ModelFolder
from steps.contracts.storage import writing
from steps.engines.lm.folder import model_folder
from steps.train.weights.kind import WeightsKind


def save_model(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    base: BaseRef,
    kind: WeightsKind,
    dataset_digest: str,
    end_tokens: list[int],
    folder: Path,
) -> ModelFolder:
    """Write weights, tokenizer, chat template and generation_config into `folder`, and describe it.

    Args:
        end_tokens: ids that end a trained turn; generation stops at them.
    """
    core = kind.core(model)
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
        kind.finish(folder, base)
    return model_folder(
        folder,
        kind=kind.stored_as,
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
