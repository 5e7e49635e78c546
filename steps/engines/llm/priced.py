"""A model that a stage asks beside its first one, with prices of its own."""

from typing import Any

from pydantic import Field, model_validator

from steps.contracts.reports import Frozen
from steps.engines.llm.endpoint import Endpoint
from steps.engines.llm.prices import Prices

# Chosen: a long answer, or a few pairs with their claims and evidence; the endpoint's own default is for scores.
REPLY_TOKENS = 2_000


class PricedEndpoint(Prices):
    """Another model. Its `max_cost` is beside that of the first one."""

    endpoint: Endpoint = Field(description="where it is served")

    @model_validator(mode="before")
    @classmethod
    def _room(cls, values: Any) -> Any:
        return roomy(values, "endpoint")


class Asking(Frozen):
    """What a stage that makes rows by models allows."""

    # Chosen, as for the judge: when one reply in five is of no use, the model is at fault rather than the rows.
    max_undecided_share: float = Field(
        0.2, ge=0, le=1, description="requests without a reply of use / requests; above it the stage fails"
    )
    allow_raw_egress: bool = Field(
        False, description="let rows that were not scrubbed go to an endpoint on another machine"
    )


def roomy(values: Any, *names: str) -> Any:
    """Settings whose endpoints of these names have room for long replies where they say nothing of it."""
    if not isinstance(values, dict):
        return values
    given = {n: values[n] for n in names if isinstance(values.get(n), dict)}
    return {**values, **{n: {"max_tokens": REPLY_TOKENS, **e} for n, e in given.items()}}
