"""The kinds of weights there are."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import Field

from steps.train.weights.full import Full, FullOptions
from steps.train.weights.half import Half, HalfOptions
from steps.train.weights.kind import WeightsKind
from steps.train.weights.lora import Lora, LoraOptions
from steps.train.weights.partial import Partial, PartialOptions
from steps.train.weights.qlora import Qlora, QloraOptions

WeightsOptions: TypeAlias = Annotated[
    LoraOptions | QloraOptions | FullOptions | HalfOptions | PartialOptions, Field(discriminator="kind")
]
WEIGHTS: Mapping[str, Callable[[Any], WeightsKind]] = {
    "lora": Lora, "qlora": Qlora, "full": Full, "half": Half, "partial": Partial,
}  # fmt: skip


def weights_of(options: WeightsOptions) -> WeightsKind:
    """The kind that the options are of."""
    return WEIGHTS[options.kind](options)
