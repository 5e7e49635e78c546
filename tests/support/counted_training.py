"""The real trainer on a small model, with every storage counted that it makes."""

from pathlib import Path
from typing import Any

from support.tiny_model import tiny_tokenizer

# Larger than what the estimate looks at, so that it must be right about how memory grows.
HIDDEN, LENGTH, BATCH = 256, 128, 2


def counted_step(model: Any, config: Any, plan: Any, folder: Path) -> int:
    """Bytes at the peak of two optimizer steps of training, weights, gradients and optimizer's state with them."""
    import datasets

    from steps.engines.progress.progress import Progress
    from steps.train.memory_probe import LiveBytes
    from steps.train.objectives.objective import EncodedRows
    from steps.train.objectives.registry import objective_of
    from steps.train.trainer import Recorder, torch_settings
    from steps.train.weights.registry import weights_of

    rows = []
    for n in range(2 * BATCH * config.gradient_accumulation_steps):
        ids = [(7 * n + i) % 1_000 + 10 for i in range(LENGTH if n % 2 == 0 else LENGTH - 1 - n)]
        rows.append(_row(config.objective.kind, ids, bool(n % 2)))
    encoded = EncodedRows(datasets.Dataset.from_list(rows), None, None, None)
    with torch_settings(1), Progress("train") as progress:
        trainer = objective_of(config.objective).trainer(
            model, tiny_tokenizer(), encoded, config, plan, weights_of(config.weights).peft_config(model), folder,
            Recorder(config, progress, None, 0),
        )  # fmt: skip
        trainer.args.save_strategy = "no"
        there = [*trainer.model.parameters(), *trainer.model.buffers()]
        counter = LiveBytes(there)
        with counter:
            trainer.train()
        weights = {p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for p in trainer.model.parameters()}
    return sum(weights.values()) + counter.peak


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
