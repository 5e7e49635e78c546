"""TRL's SFTTrainer with an exact validation loss, an optional plain loss and token counts."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.data_loader import SeedableRandomSampler
from transformers import Trainer
from transformers.trainer_pt_utils import LengthGroupedSampler, get_length_grouped_indices
from trl import SFTConfig, SFTTrainer

from steps.contracts.errors import ConfigError
from steps.engines.lm.load import LoadedModel
from steps.engines.lm.loss import token_losses
from steps.train.light_loop import LightLoop
from steps.train.mixture import Origins, source_loss
from steps.train.objectives.objective import TrainerParts
from steps.train.ranks.batches import RankBatches, told_of_epochs, with_blanks
from steps.train.settings import Plan, TrainSettings
from steps.train.trainer import measuring, training_arguments

# Rows of the validation split in memory at once.
_EVAL_CHUNK = 256
# Tokens of each of two rows that are packed to see whether the second changes with the first, and by which share of
# the largest logit (chosen: rounding in 16 bits is below it).
_PROBED, _SEEN = 8, 0.02


class EpochLengthSampler(LengthGroupedSampler):
    """Length-grouped batches whose order depends on (seed, epoch) only.

    transformers' own draws from the global generator, so that a resumed run sees other batches.
    """

    def __init__(self, batch_size: int, lengths: list[int], seed: int) -> None:
        super().__init__(batch_size, lengths=lengths)
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Trainer before each pass over the rows."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        return iter(get_length_grouped_indices(self.lengths, self.batch_size, generator=generator))


class SftTrainer(LightLoop, SFTTrainer):
    """SFTTrainer whose validation loss is the mean over all trained tokens, whatever the batch size.

    transformers averages batch means, so that its validation loss moves with the batch size and the row order.

    Attributes:
        eval_origins: sources of the validation rows; with several, each has a loss of its own.
    """

    plan: Plan
    eval_origins: Origins | None = None
    control: Any
    data_collator: Any
    # The step of the last validation, and what it found of each row.
    _seen: tuple[int, list[tuple[float, int]]] | None = None
    tokens_seen: torch.Tensor | None = None
    trained_seen: torch.Tensor | None = None

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The mean loss over trained tokens, by TRL's fused head or by the model's own logits (plan.loss_kernel)."""
        if self.plan.loss_kernel == "fused":
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        # With a cache the model would build one dense mask, and packed rows would see each other.
        inputs["use_cache"] = False
        return Trainer.compute_loss(
            self, model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch
        )

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        args = self.args
        if args.train_sampling_strategy != "group_by_length":
            if args.world_size == 1:
                return super()._get_train_sampler(train_dataset)
            # What accelerate makes of Trainer's own for one process.
            order: Any = SeedableRandomSampler(self.train_dataset, data_seed=args.data_seed)
        else:
            # The argument is the same rows without the columns that the model doesn't take.
            batch = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
            order = EpochLengthSampler(batch, list(self.train_dataset["length"]), args.seed)
        if args.world_size == 1:
            return order
        return RankBatches(order, args.train_batch_size, args.process_index, args.world_size)

    def get_train_dataloader(self) -> Any:
        """The batches of this rank."""
        if self.args.world_size > 1:
            self.data_collator = with_blanks(self.data_collator)
        return told_of_epochs(super().get_train_dataloader())

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """One forward and backward pass; tokens (without padding) and trained tokens are counted on the device."""
        mask = inputs.get("attention_mask")
        tokens = mask.sum() if mask is not None else torch.as_tensor(inputs["input_ids"].numel())
        trained = (inputs["labels"] != -100).sum()
        # Of a batch without trained tokens (`with_blanks`) nothing is counted.
        tokens = tokens * (trained > 0)
        self.tokens_seen = tokens if self.tokens_seen is None else self.tokens_seen + tokens
        self.trained_seen = trained if self.trained_seen is None else self.trained_seen + trained
        return super().training_step(model, inputs, num_items_in_batch)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Mean negative log-likelihood (nats) per trained token of the validation rows, as `eval_loss`; of those of a
        source, where there are several, as `source_loss` names it.
        """
        if self.eval_dataset is None:
            return {}
        with measuring(
            self, "the validation loss", where="train.per_device_eval_batch_size", hint="halve it, or lower max_length"
        ):
            metrics = self._validation_losses()
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _validation_losses(self) -> dict[str, float]:
        found = self._row_losses()
        self._seen = int(self.state.global_step), found
        return {"eval_loss": mean_loss(found), **self._by_source(found)}

    def row_losses(self, step: int) -> list[tuple[float, int]]:
        """Nats and trained tokens of each validation row by the model as it is now, which is that of `step`."""
        if self._seen is None or self._seen[0] != step:
            self._seen = step, self._row_losses()
        return self._seen[1]

    def _row_losses(self) -> list[tuple[float, int]]:
        """Nats and trained tokens of each validation row."""
        loaded = LoadedModel(self.model, self.processing_class, str(self.args.device))
        found: list[tuple[float, int]] = []
        for start in range(0, len(self.eval_dataset), _EVAL_CHUNK):
            rows = self.eval_dataset[start : start + _EVAL_CHUNK]
            examples = list(zip(rows["input_ids"], rows["labels"], strict=True))
            with self.compute_loss_context_manager():
                found += token_losses(loaded, examples, batch_size=self.args.per_device_eval_batch_size)
        return found

    def _by_source(self, losses: list[tuple[float, int]]) -> dict[str, float]:
        origins = self.eval_origins
        if origins is None or len(origins.names) < 2:
            return {}
        return {
            source_loss(name): mean_loss(losses[i] for i in np.flatnonzero(origins.codes == code))
            for code, name in enumerate(origins.names)
        }


def mean_loss(losses: Iterable[tuple[float, int]]) -> float:
    """Of (sum of losses, number of tokens) per row: the mean per token."""
    held = list(losses)
    return math.fsum(loss for loss, _ in held) / max(sum(n for _, n in held), 1)


def require_blind_packs(model: Any) -> None:
    """Refuse to pack whole rows for a model in which the rows of a pack see each other.

    It tells them apart by their positions, where its code in transformers asks for them (that of gpt-oss doesn't).

    Raises:
        ConfigError: the second row changes with the first.
    """
    positions = torch.arange(_PROBED, device=model.device).repeat(2)[None]
    ids = positions.remainder(model.config.get_text_config().vocab_size - 1) + 1
    other = torch.where(torch.arange(2 * _PROBED, device=model.device) < _PROBED, ids.flip(1), ids)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            found = [model(input_ids=i, position_ids=positions, use_cache=False).logits for i in (ids, other)]
    finally:
        model.train(was_training)
    one, two = (f[:, _PROBED:].float() for f in found)
    if float((one - two).abs().max()) > _SEEN * float(one.abs().max()):
        raise ConfigError(
            f"packing bfd: the rows of a pack would see each other in {type(model).__name__}", where="train.objective",
            hint="set packing: none and group_by_length: true",
        )  # fmt: skip


def build_trainer(parts: TrainerParts, packing: str) -> SftTrainer:
    """A trainer over rows that are tokenised already (columns input_ids, labels, length)."""
    rows, plan = parts.rows, parts.plan
    if packing == "bfd":
        require_blind_packs(parts.model)
    # TRL's constructor seeds torch before it makes the adapter.
    trainer = SftTrainer(
        **parts.named(),
        args=sft_config(parts.settings, packing, plan, parts.checkpoints),
        train_dataset=rows.train,
    )
    trainer.plan = plan
    parts.give_validation(trainer)
    return trainer


def sft_config(settings: TrainSettings, packing: str, plan: Plan, checkpoints: Path) -> SFTConfig:
    """TRL's arguments for settings and a plan."""
    packs = packing != "none"
    return SFTConfig(
        **training_arguments(settings, plan, checkpoints),
        packing=packs,
        packing_strategy=packing if packs else "bfd",
        eval_packing=False,
        shuffle_dataset=packs,
        # Rows are within max_length already; None keeps TRL from copying them.
        max_length=settings.max_length if packs else None,
    )
