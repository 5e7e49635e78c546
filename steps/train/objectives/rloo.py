"""REINFORCE leave-one-out: an answer is graded against the mean of the others to its prompt."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from steps.train.objectives.objective import EncodedRows
from steps.train.objectives.online import OnlineObjective, OnlineOptions
from steps.train.settings import Plan, TrainSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from steps.train.objectives.online_trainer import RlooTrainer
    from steps.train.trainer import Recorder


class RlooOptions(OnlineOptions):
    """REINFORCE leave-one-out, by TRL's RLOOTrainer."""

    kind: Literal["rloo"] = Field("rloo", description="RLOO (arXiv 2402.14740): prompts and rewards.")
    beta: float = Field(
        0.05,
        ge=0,
        description="Weight of the KL divergence from the model that training starts from, as a part of the reward. 0:"
        " none, and no second model in memory where all weights are trained.",
    )
    epsilon: float = Field(0.2, gt=0, description="Clipping of the probability ratio.")


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
