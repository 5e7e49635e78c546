"""The real trainer on a small model, with every storage counted that it makes."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.tiny_model import tiny_tokenizer

# Larger than what the estimate looks at, so that it must be right about how memory grows.
HIDDEN, LENGTH, BATCH = 256, 128, 2


@dataclass
class Counted:
    """Bytes of two optimizer steps of training.

    Attributes:
        peak: all that there is at the most, weights included.
        gradients: when the optimizer takes them. optimizer: its state at the end.
        step: at the peak of the first forward and backward pass, without weights.
    """

    weights: int = 0
    gradients: int = 0
    optimizer: int = 0
    step: int = 0
    peak: int = 0


def counted_step(model: Any, config: Any, plan: Any, folder: Path) -> int:
    """Bytes at the peak of two optimizer steps of training, weights, gradients and optimizer's state with them."""
    return counted_parts(model, config, plan, folder).peak


def counted_parts(model: Any, config: Any, plan: Any, folder: Path) -> Counted:
    """The same, and each part by itself."""
    import datasets

    from steps.engines.progress.progress import Progress
    from steps.train.memory_probe import LiveBytes
    from steps.train.objectives.objective import EncodedRows, TrainerParts
    from steps.train.objectives.registry import objective_of
    from steps.train.trainer import Recorder, torch_settings
    from steps.train.weights.registry import weights_of

    rows = []
    for n in range(2 * BATCH * config.gradient_accumulation_steps):
        ids = [(7 * n + i) % 1_000 + 10 for i in range(LENGTH if n % 2 == 0 else LENGTH - 1 - n)]
        rows.append(_row(config.objective.kind, ids, bool(n % 2)))
    encoded = EncodedRows(datasets.Dataset.from_list(rows), None, None, None)
    with torch_settings(1), Progress("train") as progress:
        adapter, recorder = weights_of(config.weights).peft_config(model), Recorder(config, progress, None, 0)
        parts = TrainerParts(model, tiny_tokenizer(), encoded, config, plan, adapter, folder, recorder)
        trainer = objective_of(config.objective).trainer(parts)
        weights_of(config.weights).begin(trainer, config)
        trainer.args.save_strategy = "no"
        found = Counted()
        there = [*trainer.model.parameters(), *trainer.model.buffers()]
        counter = LiveBytes(there)
        one_step = trainer.training_step

        def step(*given: Any, **named: Any) -> Any:
            before = len(counter.history)
            loss = one_step(*given, **named)
            if not found.step:
                found.step = max(counter.history[before:]) - (counter.history[before - 1] if before else 0)
                found.gradients = held([p.grad for p in trainer.model.parameters()])
            return loss

        trainer.training_step = step
        with counter:
            trainer.train()
        found.weights = held([*trainer.model.parameters(), *packed_scales(trainer.model)])
        found.optimizer = held([v for state in _inner(trainer.optimizer).state.values() for v in _tensors(state)])
    found.peak = found.weights + counter.peak
    return found


def held(tensors: Iterable[Any]) -> int:
    """Bytes of their storages, each once; scalars are none."""
    real = [t for t in tensors if t is not None and t.numel() > 1]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in real}.values())


def packed_scales(model: Any) -> list[Any]:
    """What bitsandbytes keeps beside quantized weights to unpack them."""
    found = []
    for module in model.modules():
        weight = getattr(module, "weight", None)
        state = getattr(weight, "quant_state", None)
        if state is not None:
            found += [state.absmax, *([state.state2.absmax] if state.nested else [])]
        if (scales := getattr(weight, "SCB", None)) is not None:
            found.append(scales)
    return found


def _inner(optimizer: Any) -> Any:
    return getattr(optimizer, "optimizer", optimizer)


def _tensors(state: Any) -> list[Any]:
    import torch

    return [v for v in state.values() if isinstance(v, torch.Tensor)]


def _row(objective: str, ids: list[int], label: bool) -> dict[str, Any]:
    """A row as the objective's trainer takes it; of answers the second half is trained."""
    half = len(ids) // 2
    answer = {"input_ids": ids, "labels": [-100] * half + ids[half:]}
    if objective in ("dpo", "orpo"):
        pair = {f"{name}_{key}": values for name in ("chosen", "rejected") for key, values in answer.items()}
        return {**pair, "length": len(ids)}
    if objective == "kto":
        return {**answer, "label": label, "length": len(ids)}
    return {"input_ids": ids, "labels": ids, "length": len(ids)}
