"""Settings of the train stage: an objective, a kind of weights, and what all of them share."""

from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from steps.train.objectives.registry import ObjectiveOptions, objective_of
from steps.train.objectives.sft import SftOptions
from steps.train.settings import TrainSettings
from steps.train.weights.lora import LoraOptions
from steps.train.weights.registry import WeightsOptions, weights_of


class TrainConfig(TrainSettings):
    """Training is objective x weights: what the rows teach, and which weights learn it."""

    # Keys that stood elsewhere before, for the error of who still writes them there.
    MOVED: ClassVar[dict[str, str]] = {
        "method": "weights.kind",
        "lora": "weights",
        "preference_as": "objective.preference_as",
        "packing": "objective.packing",
        "loss_kernel": "objective.loss_kernel",
    }

    objective: ObjectiveOptions = Field(
        default_factory=SftOptions, description="What the rows teach: kind, and the options of that kind."
    )
    weights: WeightsOptions = Field(
        default_factory=LoraOptions, description="Which weights are trained: kind, and the options of that kind."
    )

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate in force."""
        return self.learning_rate or weights_of(self.weights).learning_rate

    def in_force(self) -> dict[str, Any]:
        """All settings as plain values, None replaced where it stands for a value by weights."""
        return {**self.model_dump(mode="json"), "learning_rate": self.peak_learning_rate}

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        found = [*objective_of(self.objective).clashes(self), *weights_of(self.weights).clashes(self)]
        if found:
            raise ValueError("; ".join(found) + " (remove one of them)")
        return self
