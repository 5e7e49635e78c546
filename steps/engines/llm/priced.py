"""A model that a stage asks beside its first one, with prices of its own."""

from typing import Any

from pydantic import Field, model_validator

from steps.contracts.reports import Frozen
from steps.engines.llm.endpoint import Endpoint
from steps.engines.llm.prices import Prices

# Chosen: a long answer, or a few pairs with their claims and evidence; the endpoint's own default is for scores.
REPLY_TOKENS = 2_000


class _Roomy(Frozen):
    """Whose `endpoint`, if it has one, has room for long replies."""

    @model_validator(mode="before")
    @classmethod
    def _room(cls, values: Any) -> Any:
        endpoint = values.get("endpoint") if isinstance(values, dict) else None
        if not isinstance(endpoint, dict):
            return values
        return {**values, "endpoint": {"max_tokens": REPLY_TOKENS, **endpoint}}


class PricedEndpoint(_Roomy, Prices):
    """Another model. Its `max_cost` is beside that of the first one."""

    endpoint: Endpoint = Field(description="where it is served")


class Asking(_Roomy):
    """What a stage that makes rows by models allows."""

    # Chosen, as for the judge: when one reply in five is of no use, the model is at fault rather than the rows.
    max_undecided_share: float = Field(
        0.2, ge=0, le=1, description="requests without a reply of use / requests; above it the stage fails"
    )
    allow_raw_egress: bool = Field(
        False, description="let rows that were not scrubbed go to an endpoint on another machine"
    )
