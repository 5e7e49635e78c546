"""REINFORCE leave-one-out: an answer is graded against the mean of the others to its prompt."""

from typing import TYPE_CHECKING

from steps.train.objectives.objective import TrainerParts
from steps.train.objectives.online import OnlineObjective
from steps.train.objectives.online_options import RlooOptions

if TYPE_CHECKING:
    from steps.train.objectives.online_trainer import RlooTrainer


class Rloo(OnlineObjective):
    """The advantage of an answer is its reward less the mean of the others in its group."""

    options: RlooOptions

    def __init__(self, options: RlooOptions) -> None:
        self.options = options

    def trainer(self, parts: TrainerParts) -> "RlooTrainer":
        """TRL's RLOOTrainer, with held-out grades."""
        from steps.train.objectives.online_trainer import RlooTrainer, build_trainer, rloo_config

        config = rloo_config(parts.settings, self.options, parts.plan, parts.checkpoints)
        found: RlooTrainer = build_trainer(parts, RlooTrainer, config, self.options)
        return found
