"""All weights are trained, in float32."""

from typing import Literal

from pydantic import Field

from steps.contracts.reports import Frozen
from steps.train.settings import TrainSettings
from steps.train.weights.kind import Dtype, WeightsKind


class FullOptions(Frozen):
    """All weights."""

    kind: Literal["full"] = Field("full", description="Train all weights.")


class Full(WeightsKind):
    """All weights. A tenth of LoRA's learning rate, as the literature has it (2e-5 for models of billions)."""

    learning_rate = 2e-5
    stored_as = "full"
    lighter = "weights.kind=lora"

    def __init__(self, options: FullOptions) -> None:
        self.options = options

    def clashes(self, settings: TrainSettings) -> list[str]:
        """Weights of 16 bits lose updates that are small beside them."""
        if settings.dtype == "bfloat16":
            return ["full training in bfloat16 weights loses small updates; use dtype float32 with bf16 autocast"]
        return []

    def dtype(self, gpu_bf16: bool) -> Dtype:
        """Always float32; the forward pass may still run in bfloat16 (setting bf16)."""
        return "float32"
