"""All weights are trained: in float32, or in bfloat16 by an optimizer that rounds stochastically."""

from typing import Any, Literal

from pydantic import Field

from steps.contracts.reports import Frozen
from steps.train.settings import BITSANDBYTES, TrainSettings
from steps.train.weights.kind import Dtype, WeightsKind


class FullOptions(Frozen):
    """All weights."""

    kind: Literal["full"] = Field("full", description="Train all weights.")


class OwnWeights(WeightsKind):
    """A model's own weights, all of them or some. A tenth of LoRA's learning rate, as the literature has it (2e-5 for
    models of billions).
    """

    learning_rate = 2e-5
    stored_as = "full"
    lighter = "weights.kind=lora"

    def clashes(self, settings: TrainSettings) -> list[str]:
        """Weights of 16 bits lose updates that are small beside them, unless these are rounded by chance."""
        if settings.dtype == "bfloat16" and settings.optim not in BITSANDBYTES:
            return [
                f"training in bfloat16 weights loses small updates with optim {settings.optim}; use dtype float32 with"
                " bf16 autocast, or an optimizer of bitsandbytes (adamw_8bit), whose updates are rounded stochastically"
            ]
        return []

    def dtype(self, gpu_bf16: bool) -> Dtype:
        """Always float32; the forward pass may still run in bfloat16 (setting bf16)."""
        return "float32"

    def begin(self, trainer: Any, settings: TrainSettings) -> None:
        """Updates of weights in bfloat16 are rounded by chance, so that they are right on average."""
        if settings.dtype == "bfloat16":
            from steps.train.weights.rounding import round_stochastically

            round_stochastically(trainer, settings.seed)


class Full(OwnWeights):
    """All weights."""

    def __init__(self, options: FullOptions) -> None:
        self.options = options
