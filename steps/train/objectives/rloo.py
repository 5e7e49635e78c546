"""REINFORCE leave-one-out: an answer is graded against the mean of the others to its prompt."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from steps.train.objectives.objective import EncodedRows
from steps.train.objectives.online import OnlineObjective
from steps.train.objectives.online_options import RlooOptions
from steps.train.settings import Plan, TrainSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from steps.train.objectives.online_trainer import RlooTrainer
    from steps.train.trainer import Recorder


class Rloo(OnlineObjective):
    """The advantage of an answer is its reward less the mean of the others in its group."""

    options: RlooOptions

    def __init__(self, options: RlooOptions) -> None:
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
    ) -> "RlooTrainer":
        """TRL's RLOOTrainer, with held-out grades."""
        from steps.train.objectives.online_trainer import RlooTrainer, build_trainer, rloo_config

        config = rloo_config(settings, self.options, plan, checkpoints)
        found: RlooTrainer = build_trainer(
            RlooTrainer, config, self.options.beta, model, tokenizer, rows, self.options, peft_config, recorder
        )  # fmt: skip
        return found
