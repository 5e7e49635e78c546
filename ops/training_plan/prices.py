"""What an hour of a card costs: by a file of your own, or as three providers listed it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from pipelines.load import load_model
from steps.contracts.reports import Frozen
from steps.train.planning.devices import device_named


class HourlyPrice(Frozen):
    """Of one card."""

    per_hour: float = Field(ge=0, description="of one card")
    source: str = Field("", description="who asks so much, and when")


class TokenPrice(Frozen):
    """Of one model that is asked over the network, per million tokens."""

    input: float = Field(ge=0, description="of 1e6 prompt tokens")
    output: float = Field(ge=0, description="of 1e6 reply tokens")
    source: str = Field("", description="who asks so much, and when")


class PriceTable(Frozen):
    """A price file: `currency`, under `devices` the cards by the names of --device, under `models` those that judges
    ask by the names of their endpoints.
    """

    currency: str = Field("USD", min_length=1, max_length=8)
    devices: dict[str, HourlyPrice] = Field({}, description="price by name of the card")
    models: dict[str, TokenPrice] = Field({}, description="price by name of the model")

    @field_validator("devices", mode="before")
    @classmethod
    def _named(cls, devices: Any) -> Any:
        # YAML takes 4090 for a number.
        return {str(k): v for k, v in devices.items()} if isinstance(devices, dict) else devices

    def of(self, device: str) -> HourlyPrice | None:
        """The price of a card; None: it isn't listed."""
        return next((price for name, price in self.devices.items() if device_named(name).name == device), None)


_LAMBDA = "Lambda, instances of eight, list of 2026-09-20, lambda.ai/instances"
_RUNPOD = "Runpod, flex workers, docs.runpod.io/serverless/pricing, looked up 2026-11-28"
_MODAL = "Modal, as quoted 2026-05-07, modal.com/pricing"
_LISTED: Mapping[str, tuple[float, str]] = {
    "a100-40gb": (1.99, _LAMBDA),
    "a100-80gb": (2.79, _LAMBDA),
    "h100": (3.99, _LAMBDA),
    "h200": (5.58, _RUNPOD),
    "l40s": (1.91, _RUNPOD),
    "a6000": (1.22, _RUNPOD),
    "rtx-4090": (1.12, _RUNPOD),
    "rtx-3090": (0.68, _RUNPOD),
    "l4": (0.68, _RUNPOD),
    "t4": (0.59, _MODAL),
}
LISTED = PriceTable(devices={name: HourlyPrice(per_hour=p, source=s) for name, (p, s) in _LISTED.items()})


def prices(file: Path | None) -> PriceTable:
    """The table of a file; without one what was listed.

    Raises:
        InputNotFoundError, ConfigError: no such file, or none of prices, or of a card that isn't known.
    """
    if file is None:
        return LISTED
    table = load_model(PriceTable, file)
    for name in table.devices:
        device_named(name)
    return table
