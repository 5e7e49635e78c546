"""The objectives there are."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from steps.train.objectives.objective import Objective
from steps.train.objectives.sft import Sft, SftOptions

# With a second objective: Annotated[SftOptions | ..., Field(discriminator="kind")]; pydantic refuses it for one.
ObjectiveOptions: TypeAlias = SftOptions
OBJECTIVES: Mapping[str, Callable[[Any], Objective]] = {"sft": Sft}


def objective_of(options: ObjectiveOptions) -> Objective:
    """The objective that the options are of."""
    return OBJECTIVES[options.kind](options)
