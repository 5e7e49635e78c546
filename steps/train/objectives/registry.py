"""The objectives there are."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import Field

from steps.train.objectives.dpo import Dpo, DpoOptions
from steps.train.objectives.kto import Kto, KtoOptions
from steps.train.objectives.objective import Objective
from steps.train.objectives.orpo import Orpo, OrpoOptions
from steps.train.objectives.sft import Sft, SftOptions

ObjectiveOptions: TypeAlias = Annotated[SftOptions | DpoOptions | KtoOptions | OrpoOptions, Field(discriminator="kind")]
OBJECTIVES: Mapping[str, Callable[[Any], Objective]] = {"sft": Sft, "dpo": Dpo, "kto": Kto, "orpo": Orpo}


def objective_of(options: ObjectiveOptions) -> Objective:
    """The objective that the options are of."""
    return OBJECTIVES[options.kind](options)
