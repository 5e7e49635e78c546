"""Group relative policy optimisation: answers to one prompt are graded against each other."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from steps.train.objectives.objective import EncodedRows
from steps.train.objectives.online import OnlineObjective, OnlineOptions
from steps.train.settings import Plan, TrainSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from steps.train.objectives.online_trainer import GrpoTrainer
    from steps.train.trainer import Recorder


class GrpoOptions(OnlineOptions):
    """Group relative policy optimisation, by TRL's GRPOTrainer."""

    kind: Literal["grpo"] = Field("grpo", description="GRPO (arXiv 2402.03300): prompts and rewards.")
    beta: float = Field(
        0.04,
        ge=0,
        description="Weight of the KL divergence from the model that training starts from: 0.04 in the paper. 0: none,"
        " and no second model in memory where all weights are trained.",
    )
    epsilon: float = Field(0.2, gt=0, description="Clipping of the probability ratio.")
    loss: Literal["dapo", "grpo", "bnpo", "dr_grpo"] = Field(
        "dapo", description="How tokens are weighed: dapo (arXiv 2503.14476) by all tokens of a step, grpo by answer,"
        " dr_grpo (arXiv 2503.20783) by the longest answer there may be."
    )  # fmt: skip


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
