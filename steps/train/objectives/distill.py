"""Distillation: the model answers, and learns at each token of its answer what a teacher would have said."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from steps.engines.lm.load import load_tokenizer
from steps.train.asked import ModelSource, require_same_tokens
from steps.train.objectives.distill_options import DistillOptions
from steps.train.objectives.objective import Curve, Demand, Measure, TrainerParts
from steps.train.objectives.online import PromptObjective
from steps.train.settings import TrainSettings
from steps.train.start import Start

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from steps.train.objectives.distill_trainer import DistillTrainer

_DIVERGENCE = "nats per token of the answers"


class Distill(PromptObjective):
    """What the row answers isn't looked at."""

    options: DistillOptions
    curves = (
        Curve("Divergence from the teacher, training", _DIVERGENCE, "loss"),
        Curve("Divergence from the teacher, validation", _DIVERGENCE, "eval_loss"),
        Curve("Entropy of the answers", "nats per token", "entropy"),
        Curve("Length of answers, training", "tokens", "completions/mean_length"),
        Curve("Answers that were cut", "share", "completions/clipped_ratio"),
        Curve("Learning rate", "learning rate", "learning_rate"),
        Curve("Gradient norm", "norm before clipping", "grad_norm"),
    )
    measures = (
        Measure("divergence from the teacher, greedy validation answers", "eval_loss"),
        Measure("tokens of a validation answer", "eval_length"),
    )

    def __init__(self, options: DistillOptions) -> None:
        self.options = options

    def asks(self) -> tuple[ModelSource, ...]:
        """The teacher."""
        return (self.options.teacher,)

    def require_asked(self, tokenizer: "PreTrainedTokenizerBase", asked: Mapping[str, Start]) -> None:
        """The teacher reads the same tokens."""
        key = self.options.teacher.key
        other = load_tokenizer(asked[key].tokenizer)
        require_same_tokens(tokenizer, other, "teacher", f"train.objective.teacher: {key}")

    def demand(self, settings: TrainSettings) -> Demand:
        """The teacher reads each answer."""
        return replace(super().demand(settings), asked_per_row=1)

    @property
    def answers_per_prompt(self) -> int:
        """One."""
        return 1

    def trainer(self, parts: TrainerParts) -> "DistillTrainer":
        """TRL's DistillationTrainer over rendered prompts."""
        from steps.train.objectives.distill_trainer import build_trainer

        return build_trainer(parts, self.options)
