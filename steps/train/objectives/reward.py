"""Reward modelling: a number for an answer, larger for the chosen one of a pair."""

from typing import TYPE_CHECKING

from steps.train.objectives.objective import VALIDATION_LOSS, Curve, Measure, TrainerParts
from steps.train.objectives.preference import COURSE, PreferenceObjective
from steps.train.objectives.reward_options import RewardOptions
from steps.train.settings import TrainSettings

if TYPE_CHECKING:
    from steps.train.objectives.reward_trainer import PairRewardTrainer


class Reward(PreferenceObjective):
    """Preference pairs. The model writes nothing afterwards: it is evaluated by held-out pairs."""

    # InstructGPT's (arXiv 2203.02155, appendix C.2) 9e-6 for full weights.
    learning_rate_share = 0.45
    sequences_per_row = 2
    curves = (
        Curve("Training loss", "loss of a pair", "loss"),
        Curve("Validation loss", "loss of a pair", "eval_loss"),
        Curve("Accuracy, validation", "share of pairs", "eval_accuracy"),
        Curve("Margin, validation", "reward", "eval_margin"),
        *COURSE,
    )
    measures = (
        VALIDATION_LOSS,
        Measure("validation accuracy", "eval_accuracy"),
        Measure("lower bound of the accuracy (95 %)", "eval_accuracy_low"),
        Measure("upper bound of the accuracy (95 %)", "eval_accuracy_high"),
        Measure("validation margin", "eval_margin"),
        Measure("mean reward", "eval_mean_reward"),
        Measure("accuracy of the longer answer", "eval_longer_accuracy"),
    )

    def __init__(self, options: RewardOptions) -> None:
        self.options = options

    def clashes(self, settings: TrainSettings) -> list[str]:
        """It answers no sample either."""
        samples = ["sample_prompts are answered, and a reward model writes nothing"] if settings.sample_prompts else []
        return [*super().clashes(settings), *samples]

    def trainer(self, parts: TrainerParts) -> "PairRewardTrainer":
        """TRL's RewardTrainer, with exact measures."""
        from steps.train.objectives.reward_trainer import build_trainer

        return build_trainer(parts, self.options.center_rewards)
