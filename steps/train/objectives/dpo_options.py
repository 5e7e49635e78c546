"""Options of dpo."""

from typing import Literal, Self

from pydantic import Field, model_validator

from steps.contracts.reports import Frozen
from steps.train.objectives.preference import PairLoss


class DpoOptions(Frozen):
    """Direct preference optimisation of pairs, by TRL's DPOTrainer."""

    kind: Literal["dpo"] = Field("dpo", description="Direct preference optimisation (arXiv 2305.18290): pairs.")
    loss: PairLoss = Field(
        "sigmoid",
        description="sigmoid: DPO's own; ipo: arXiv 2310.12036, per token, less prone to overfit where answers are"
        " always preferred; hinge: SLiC's (arXiv 2305.10425).",
    )
    beta: float = Field(
        0.1,
        gt=0,
        description="How much it costs to leave the model that training starts from: 0.1 in the DPO paper; smaller goes"
        " farther. ipo: its tau.",
    )
    label_smoothing: float = Field(
        0.0,
        ge=0,
        lt=0.5,
        description="Share of pairs that are the wrong way round (robust DPO, arXiv 2403.00409); sigmoid only.",
    )
    sft_weight: float = Field(
        0.0,
        ge=0,
        description="Weight of the chosen answer's negative log-likelihood, which keeps it from becoming less likely"
        " (arXiv 2404.19733 takes 1).",
    )

    @model_validator(mode="after")
    def _smoothed(self) -> Self:
        if self.label_smoothing and self.loss != "sigmoid":
            raise ValueError(f"label_smoothing is of the sigmoid loss, loss is {self.loss} (remove one of them)")
        return self
