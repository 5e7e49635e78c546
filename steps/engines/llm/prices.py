"""What a model's replies cost, and the limit on it."""

from typing import Self

from pydantic import Field, model_validator

from steps.contracts.reports import Frozen


class Prices(Frozen):
    """Part of the settings of a stage that asks a model for money."""

    price_per_million_input: float | None = Field(default=None, ge=0, description="price of 1e6 prompt tokens")
    price_per_million_output: float | None = Field(default=None, ge=0, description="price of 1e6 reply tokens")
    max_cost: float | None = Field(
        default=None, ge=0, description="no request is sent that could lead above it; in the prices' currency"
    )

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.price_per_million_input is None) != (self.price_per_million_output is None):
            raise ValueError("set both price_per_million_input and price_per_million_output, or none")
        if self.max_cost is not None and self.price_per_million_input is None:
            raise ValueError("max_cost needs price_per_million_input and price_per_million_output")
        return self
