"""KTO: answers that are wanted become likelier, unwanted ones less likely, each by itself, without pairs."""

from types import MappingProxyType
from typing import TYPE_CHECKING

from steps.contracts.records import Row
from steps.train.objectives.kto_options import KtoOptions
from steps.train.objectives.objective import VALIDATION_LOSS, Curve, Measure, TrainerParts
from steps.train.objectives.preference import ACCURACY, COURSE, MARGIN, REWARD, ReferencedObjective
from steps.train.settings import TrainSettings

if TYPE_CHECKING:
    from steps.train.answer_forms import LabelledAnswers
    from steps.train.objectives.kto_trainer import KtoTrainer


class Kto(ReferencedObjective):
    """Unpaired preferences, and the answers of pairs."""

    # trl/scripts/kto.py: 5e-7 for full weights.
    learning_rate_share = 1 / 40
    # The divergence is estimated within a batch.
    batches_are_whole = True
    curves = (
        Curve("Training loss", "loss of an answer", "loss"),
        Curve("Validation loss", "loss of an answer", "eval_loss"),
        Curve("Reward accuracy, validation", "share of wanted, unwanted", "eval_rewards/accuracies"),
        Curve("Reward margin, validation", REWARD, "eval_rewards/margins"),
        Curve("Divergence, validation", "nats per answer", "eval_kl"),
        *COURSE,
    )
    measures = (
        VALIDATION_LOSS,
        ACCURACY,
        MARGIN,
        Measure("reward of wanted answers", "eval_rewards/chosen"),
        Measure("reward of unwanted answers", "eval_rewards/rejected"),
        Measure("divergence from the start", "eval_kl"),
    )

    otherwise = MappingProxyType(
        {"preference": "objective.preference_as: labelled makes a wanted and an unwanted answer"}
    )

    def __init__(self, options: KtoOptions) -> None:
        self.options = options

    @property
    def form(self) -> "LabelledAnswers":
        """One answer with its label."""
        from steps.train.answer_forms import LabelledAnswers

        return LabelledAnswers()

    def clashes(self, settings: TrainSettings) -> list[str]:
        """The divergence is estimated within a batch, by giving its prompts each other's answers."""
        found = super().clashes(settings)
        if settings.group_by_length:
            found.append("kto's batches stay what they are: group_by_length clashes")
        if settings.per_device_train_batch_size < 2:
            found.append("kto needs per_device_train_batch_size 2 or more: a batch of one has no other answer")
        return found

    def refusal(self, row: Row) -> str | None:
        """Whatever has no label, and pairs where they are skipped."""
        if row["kind"] == "unpaired_preference" or (
            row["kind"] == "preference" and self.options.preference_as == "labelled"
        ):
            return None
        return str(row["kind"])

    def trainer(self, parts: TrainerParts) -> "KtoTrainer":
        """TRL's KTOTrainer, with exact measures."""
        from steps.train.objectives.kto_trainer import build_trainer

        return build_trainer(parts, self.options)
