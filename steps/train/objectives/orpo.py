"""ORPO: fine-tuning on the chosen answer, and preference over the rejected one, in one loss; no reference model."""

from typing import TYPE_CHECKING

from steps.train.objectives.objective import VALIDATION_LOSS, Curve, Measure, TrainerParts
from steps.train.objectives.orpo_options import OrpoOptions
from steps.train.objectives.preference import COURSE, LIKELIHOODS, PreferenceObjective

if TYPE_CHECKING:
    from steps.train.objectives.orpo_trainer import OrpoTrainer


class Orpo(PreferenceObjective):
    """Preference pairs; from a base model, since what the answers are like is learnt with it."""

    # The paper's 8e-6 for full weights (its appendix on training).
    learning_rate_share = 0.4
    sequences_per_row = 2
    curves = (
        Curve("Training loss", "loss of a pair", "loss"),
        Curve("Validation loss", "loss of a pair", "eval_loss"),
        Curve("Likelihood of chosen answers, validation", "nats per token", "eval_nll_loss"),
        Curve("Log odds ratio, validation", "nats", "eval_log_odds_chosen"),
        Curve("Chosen answer likelier, validation", "share of pairs", "eval_logps/accuracies"),
        *COURSE,
    )
    measures = (
        VALIDATION_LOSS,
        Measure("negative log-likelihood of chosen answers", "eval_nll_loss"),
        Measure("log odds ratio", "eval_log_odds_chosen"),
        *LIKELIHOODS,
    )

    def __init__(self, options: OrpoOptions) -> None:
        self.options = options

    def trainer(self, parts: TrainerParts) -> "OrpoTrainer":
        """TRL's ORPOTrainer, with exact measures."""
        from steps.train.objectives.orpo_trainer import build_trainer

        return build_trainer(parts, self.options)
