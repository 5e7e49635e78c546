"""Settings of the cascade: the judge decides about a sample, a small classifier that learned from it about the rest."""

from pydantic import Field

from steps.contracts.reports import Frozen
from steps.engines.embed.config import EmbedConfig


class CascadeConfig(Frozen):
    """A small classifier, trained on the judge's own verdicts, decides about the rows that it is sure of."""

    # Chosen: what it learns from is kept or dropped; of 1,000 rows the held-out agreement is known to 2 or 3 points.
    sample: int = Field(1000, ge=100, description="rows that the judge decides about first, drawn by content and seed")
    seed: int = Field(0, ge=0, description="of the sample")
    embed: EmbedConfig | None = Field(
        None, description="what it sees: vectors of this model; None: hashed n-grams of words and letters"
    )
    agreement: float = Field(
        0.95, gt=0.5, le=1,
        description="rows are its to decide where so large a share is decided as the judge does; the others go to the"
        " judge",
    )  # fmt: skip
    floor: float = Field(
        0.9, ge=0.5, le=1,
        description="below it, by the lower end of the 95 % interval of the held-out agreement, the run stops",
    )  # fmt: skip
