"""Direct preference optimisation: the chosen answer becomes likelier than the rejected one, as seen from the start."""

from typing import TYPE_CHECKING

from steps.train.objectives.dpo_options import DpoOptions
from steps.train.objectives.objective import VALIDATION_LOSS, Curve, TrainerParts
from steps.train.objectives.preference import (
    ACCURACY,
    COURSE,
    LIKELIHOODS,
    MARGIN,
    REWARD,
    ReferencedObjective,
)

if TYPE_CHECKING:
    from steps.train.objectives.dpo_trainer import DpoTrainer


class Dpo(ReferencedObjective):
    """Preference pairs. The reference is the model that the phase starts from, never one loaded by name."""

    # trl/scripts/dpo.py: 5e-7 for full weights, 5e-6 for LoRA.
    learning_rate_share = 1 / 40
    sequences_per_row = 2
    curves = (
        Curve("Training loss", "loss of a pair", "loss"),
        Curve("Validation loss", "loss of a pair", "eval_loss"),
        Curve("Reward accuracy, validation", "share of pairs", "eval_rewards/accuracies"),
        Curve("Reward margin, validation", REWARD, "eval_rewards/margins"),
        Curve("Reward margin, training", REWARD, "rewards/margins"),
        Curve("Log-probability of chosen answers, validation", "nats per answer", "eval_logps/chosen"),
        *COURSE,
    )
    measures = (VALIDATION_LOSS, ACCURACY, MARGIN, *LIKELIHOODS)

    def __init__(self, options: DpoOptions) -> None:
        self.options = options

    def trainer(self, parts: TrainerParts) -> "DpoTrainer":
        """TRL's DPOTrainer, with exact measures."""
        from steps.train.objectives.dpo_trainer import build_trainer

        return build_trainer(parts, self.options)
