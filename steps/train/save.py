"""The trained model as a folder of safetensors and JSON, the same bytes on every machine."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from steps.contracts.models import ModelFolder
from steps.contracts.storage import writing
from steps.engines.lm.folder import model_folder
from steps.engines.lm.load import EARLIER, adapter_path, earlier_adapters
from steps.engines.lm.quantized import number_of
from steps.train.config import TrainConfig
from steps.train.settings import Plan
from steps.train.start import Start
from steps.train.weights.kind import WeightsKind


def save_model(
    model: Any,
    kind: WeightsKind,
    tokenizer: PreTrainedTokenizerBase,
    start: Start,
    config: TrainConfig,
    plan: Plan,
    dataset_digest: str,
    end_tokens: list[int],
    folder: Path,
) -> ModelFolder:
    """Write weights, tokenizer, chat template and generation_config into `folder`, and describe it.

    Args:
        start: what the model was before; an adapter takes the adapters that lie below it with it.
        end_tokens: ids that end a trained turn; generation stops at them.
    """
    core = kind.core(model)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    parameters = sum(number_of(p) for p in model.parameters())
    # A model that scores writes nothing.
    generation = getattr(core, "generation_config", None)
    notes = [*(_stop_at(generation, end_tokens) if generation is not None else []), *kind.left_out(model)]
    if plan.processes > 1:
        machines = f" of {plan.nodes} machines" if plan.nodes > 1 else ""
        zero = f", ZeRO stage {plan.zero_stage}, offload {plan.offload}" if plan.zero_stage else ""
        notes.append(f"trained by {plan.processes} processes{machines} ({plan.strategy}{zero}) that shared each batch")
    notes += [
        f"{config.objective.kind} asked {key}, whose weights are {m.model.info.digest[:12]}"
        for key, m in start.asked.items()
    ]
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        kind.save(model, folder)
        if generation is not None:
            generation.save_pretrained(str(folder))
        tokenizer.save_pretrained(str(folder))
        # peft's model card names the base by its path on this machine.
        (folder / "README.md").unlink(missing_ok=True)
        kind.finish(folder, start.base.info)
        if kind.stored_as == "adapter" and start.adapter is not None:
            _copy_adapters([*earlier_adapters(start.adapter), adapter_path(start.adapter)], folder / EARLIER)
    return model_folder(
        folder,
        kind=kind.stored_as,
        base=start.base.info.base,
        parameters=parameters,
        trainable=trainable,
        notes=notes,
        dataset_digest=dataset_digest,
        name=config.model_name,
        objective=config.objective.kind,
        weights=config.weights.kind,
        started_from=start.model.info.lineage,
        template=start.model.info.template,
    )


def _copy_adapters(adapters: Sequence[Path], folder: Path) -> None:
    """The adapters in their order, numbered from 1, without the tokenizers beside them."""
    for number, adapter in enumerate(adapters, 1):
        (folder / str(number)).mkdir(parents=True)
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            shutil.copyfile(adapter / name, folder / str(number) / name)


def _stop_at(generation_config: Any, end_tokens: list[int]) -> list[str]:
    known = generation_config.eos_token_id
    known = [] if known is None else [known] if isinstance(known, int) else list(known)
    new = [t for t in end_tokens if t not in known]
    if not new:
        return []
    generation_config.eos_token_id = sorted({*known, *new})
    return [f"generation_config now also stops at the token ids {new}, which end the trained turns"]
