"""Explained variance adaptation (Paischer et al. 2024, arXiv 2410.07170): an adapter begins with the main directions of
what its layers are given of the training rows. It adds nothing at first: only A is set, B stays 0.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from steps.contracts.errors import ConfigError
from steps.engines.lm.loss import IGNORED

# Times that all batches are looked at before the directions must stand still (peft's threshold: a cosine of 0.99
# between two batches). Chosen: those of real activations do within one or two.
_MOST_PASSES = 20
# peft finds k directions among twice as many (torch.svd_lowrank's q).
_LOOKED_AT = 2


def begin_with_inputs(trainer: Any, rows: int, rho: float) -> None:
    """Set A of every layer of a trainer's new adapter by its inputs at the trained tokens of the first rows (packs,
    where rows are packed), in the dataset's order.

    With `rho` above 1 ranks go where more of the variance is, up to rho x r a layer; their sum stays, their scale too.

    Raises:
        ConfigError: the rows have fewer trained tokens than directions are wanted, or the directions don't settle.
    """
    import torch
    from peft import EvaConfig
    from peft.tuners.lora.eva import initialize_lora_eva_weights

    model, needed = trainer.model, _directions(trainer.model, rho)
    batches = [trainer.data_collator(batch) for batch in _batches(trainer, rows, needed)]
    config = model.peft_config["default"]
    config.init_lora_weights, config.eva_config = "eva", EvaConfig(rho=rho, label_mask_value=IGNORED)
    decoder, calls = model.get_base_model().get_decoder(), 0

    def forward(_: Any, inputs: Mapping[str, Any]) -> None:
        nonlocal calls
        calls += 1
        if calls > _MOST_PASSES * len(batches):
            raise ConfigError(
                f"init_lora_weights eva: the directions of {rows} rows don't settle in {_MOST_PASSES} passes",
                where="train.weights", hint="raise eva_rows, or lower r",
            )  # fmt: skip
        read = {name: inputs[name] for name in ("input_ids", "attention_mask", "position_ids") if name in inputs}
        with trainer.compute_loss_context_manager():
            decoder(**read, use_cache=False)

    with torch.random.fork_rng(devices=_gpus(model)):
        initialize_lora_eva_weights(
            model, batches, forward_fn=forward, gather_distributed_inputs=False, show_progress_bar=False
        )
    # What is saved is an adapter like any other; whoever loads it has no rows.
    config.init_lora_weights, config.eva_config = True, None
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.to(torch.float32)


def require_room(attached: Any, rho: float) -> None:
    """Refuse layers that have fewer inputs than peft looks for directions among, and embeddings, which have none.

    Raises:
        ConfigError: there is such a layer.
    """
    for name, module in attached.named_modules():
        if not hasattr(module, "lora_A"):
            continue
        short, rank = name.rpartition(".")[2], max(module.r.values())
        if not module.lora_A:
            raise ConfigError(
                f"init_lora_weights eva looks at the inputs of linear layers, {short} is none", where="train.weights",
                hint=f"leave {short} out of target_modules",
            )  # fmt: skip
        if _LOOKED_AT * round(rank * rho) > module.in_features:
            raise ConfigError(
                f"init_lora_weights eva needs {_LOOKED_AT * round(rank * rho)} inputs of a layer for {rank} directions"
                f"{f' x eva_rho {rho:g}' if rho > 1 else ''}, {short} has {module.in_features}",
                where="train.weights", hint="lower r or eva_rho",
            )  # fmt: skip


def _directions(model: Any, rho: float) -> int:
    """The most that a layer may get."""
    return max(round(int(rank) * rho) for m in model.modules() if hasattr(m, "lora_A") for rank in m.r.values())


def _batches(trainer: Any, rows: int, needed: int) -> Iterator[list[dict[str, Any]]]:
    """The first rows in their order, as many at once as training has in a pass, or as have enough trained tokens."""
    size, batch, trained = trainer.args.per_device_train_batch_size, list[dict[str, Any]](), 0
    waiting: list[dict[str, Any]] = []
    for row in trainer.train_dataset.select(range(min(rows, len(trainer.train_dataset)))):
        batch.append({name: row[name] for name in ("input_ids", "labels", "seq_lengths") if name in row})
        trained += _trained(row["labels"])
        if len(batch) >= size and trained >= needed:
            if waiting:
                yield waiting
            waiting, batch, trained = batch, [], 0
    # What is too little for a batch of its own goes with the one before.
    last = [*waiting, *batch]
    if sum(_trained(row["labels"]) for row in last) < needed:
        raise ConfigError(
            f"init_lora_weights eva looks for {needed} directions, and the first {rows} rows have fewer trained tokens",
            where="train.weights", hint="raise eva_rows, or lower r",
        )  # fmt: skip
    yield last


def _trained(labels: Sequence[int]) -> int:
    return sum(label != IGNORED for label in labels)


def _gpus(model: Any) -> list[int]:
    device = next(model.parameters()).device
    return [device.index or 0] if device.type == "cuda" else []
