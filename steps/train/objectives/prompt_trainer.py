"""What trainers over rendered prompts share, whose answers are made on the way."""

from collections.abc import Iterator
from typing import Any

import torch
from transformers import Trainer
from trl.trainer.utils import RepeatSampler


class EpochRepeatSampler(RepeatSampler):
    """TRL's, in an order that depends on (seed, epoch) only: its own depends on how many epochs this process saw."""

    epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Trainer before each pass over the rows."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator.manual_seed(self.seed + self.epoch)
        return iter(super().__iter__())


class PromptTrainer(Trainer):
    """Over one of TRL's: prompts are text already, and tokens are counted."""

    control: Any
    processing_class: Any
    tokens_seen: torch.Tensor | None = None
    trained_seen: torch.Tensor | None = None

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """The templates write BOS themselves."""
        return self.processing_class(prompts, add_special_tokens=False)["input_ids"], None, {}

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """TRL's; tokens are counted on the device."""
        trained = inputs["completion_mask"].sum()
        tokens = trained + inputs["prompt_mask"].sum()
        self.tokens_seen = tokens if self.tokens_seen is None else self.tokens_seen + tokens
        self.trained_seen = trained if self.trained_seen is None else self.trained_seen + trained
        return super().compute_loss(model, inputs, *args, **kwargs)
