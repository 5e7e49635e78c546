"""The objectives there are."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field

from steps.train.objectives.continued_pretraining import ContinuedPretraining, ContinuedPretrainingOptions
from steps.train.objectives.dpo import Dpo, DpoOptions
from steps.train.objectives.kto import Kto, KtoOptions
from steps.train.objectives.objective import Objective
from steps.train.objectives.orpo import Orpo, OrpoOptions
from steps.train.objectives.sft import Sft, SftOptions


def _of_some_kind(value: Any) -> Any:
    """Options without a kind are sft's."""
    return {"kind": "sft", **value} if isinstance(value, Mapping) else value


ObjectiveOptions: TypeAlias = Annotated[
    SftOptions | ContinuedPretrainingOptions | DpoOptions | KtoOptions | OrpoOptions,
    Field(discriminator="kind"),
    BeforeValidator(_of_some_kind),
]
OBJECTIVES: Mapping[str, Callable[[Any], Objective]] = {
    "sft": Sft,
    "continued_pretraining": ContinuedPretraining,
    "dpo": Dpo,
    "kto": Kto,
    "orpo": Orpo,
}


def objective_of(options: ObjectiveOptions) -> Objective:
    """The objective that the options are of."""
    return OBJECTIVES[options.kind](options)
