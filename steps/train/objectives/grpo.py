"""Group relative policy optimisation: answers to one prompt are graded against each other."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from steps.train.objectives.objective import EncodedRows
from steps.train.objectives.online import OnlineObjective
from steps.train.objectives.online_options import GrpoOptions
from steps.train.settings import Plan, TrainSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from steps.train.objectives.online_trainer import GrpoTrainer
    from steps.train.trainer import Recorder


class Grpo(OnlineObjective):
    """The advantage of an answer is its reward less the mean of its group, over their standard deviation."""

    options: GrpoOptions

    def __init__(self, options: GrpoOptions) -> None:
        self.options = options

    def trainer(
        self,
        model: Any,
        tokenizer: "PreTrainedTokenizerBase",
        rows: EncodedRows,
        settings: TrainSettings,
        plan: Plan,
        peft_config: Any,
        checkpoints: Path,
        recorder: "Recorder",
    ) -> "GrpoTrainer":
        """TRL's GRPOTrainer, with held-out grades."""
        from steps.train.objectives.online_trainer import GrpoTrainer, build_trainer, grpo_config

        config = grpo_config(settings, self.options, plan, checkpoints)
        found: GrpoTrainer = build_trainer(
            GrpoTrainer, config, self.options.beta, model, tokenizer, rows, self.options, peft_config, recorder
        )  # fmt: skip
        return found
