"""Distillation: the model answers, and learns at each token of its answer what a teacher would have said."""

from typing import TYPE_CHECKING

from steps.contracts.records import Row
from steps.train.asked import ModelSource
from steps.train.objectives.distill_options import DistillOptions
from steps.train.objectives.objective import Curve, Demand, Measure, Objective, TrainerParts
from steps.train.objectives.online import encode_prompts, online_clashes
from steps.train.rows_to_encode import RowsToEncode
from steps.train.settings import TrainSettings

if TYPE_CHECKING:
    import datasets

    from steps.train.encoding import Encoding
    from steps.train.objectives.distill_trainer import DistillTrainer

_DIVERGENCE = "nats per token of the answers"


class Distill(Objective):
    """Prompts of conversations and of preferences. What the row answers isn't looked at."""

    # TRL's default for full weights is 1e-6, its example (trl/scripts/distillation.py) has 1e-5.
    learning_rate_share = 0.1
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

    def demand(self, settings: TrainSettings) -> Demand:
        """All answers of an optimizer step are generated at once."""
        answer = self.options.max_completion_length
        rows = settings.per_device_train_batch_size * settings.gradient_accumulation_steps
        return Demand(answers=(rows, settings.max_length - answer, answer), asked_per_row=1)

    @property
    def answers_per_prompt(self) -> int:
        """One."""
        return 1

    def clashes(self, settings: TrainSettings) -> list[str]:
        """Room for a prompt."""
        return online_clashes(settings, self.options.max_completion_length)

    def refusal(self, row: Row) -> str | None:
        """Documents ask nothing."""
        return "document" if row["kind"] == "document" else None

    def encode(self, given: RowsToEncode) -> tuple["datasets.Dataset", "Encoding"]:
        """Prompts as inference has them."""
        return encode_prompts(given, self.options.max_completion_length, self.refusal)

    def trainer(self, parts: TrainerParts) -> "DistillTrainer":
        """TRL's DistillationTrainer over rendered prompts."""
        from steps.train.objectives.distill_trainer import build_trainer

        return build_trainer(parts, self.options)
