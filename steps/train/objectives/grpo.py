"""Group relative policy optimisation: answers to one prompt are graded against each other."""

from typing import TYPE_CHECKING

from steps.train.objectives.objective import TrainerParts
from steps.train.objectives.online import OnlineObjective
from steps.train.objectives.online_options import GrpoOptions

if TYPE_CHECKING:
    from steps.train.objectives.online_trainer import GrpoTrainer


class Grpo(OnlineObjective):
    """The advantage of an answer is its reward less the mean of its group, over their standard deviation."""

    options: GrpoOptions

    def __init__(self, options: GrpoOptions) -> None:
        self.options = options

    def trainer(self, parts: TrainerParts) -> "GrpoTrainer":
        """TRL's GRPOTrainer, with held-out grades."""
        from steps.train.objectives.online_trainer import GrpoTrainer, build_trainer, grpo_config

        config = grpo_config(parts.settings, self.options, parts.plan, parts.checkpoints)
        found: GrpoTrainer = build_trainer(parts, GrpoTrainer, config, self.options)
        return found
