"""Settings of the gate."""

from typing import Literal

from pydantic import Field

from steps.contracts.reports import Frozen


class GateConfig(Frozen):
    """What a tuned model must show, beside its base on the same rows, before it is promoted.

    Metrics are named as "exact_match" (of the held-out rows) or "<control>/<metric>". Every check reads the side of
    the 95 % interval that speaks against the candidate, unless `bounds` says "value".
    """

    # The metric that must improve; null: the first of field_accuracy, exact_match, rouge_l and loss that was measured
    # on the held-out rows of both models.
    metric: str | None = None
    # The gain must lie strictly above this, so that a tie doesn't pass. In the metric's own unit (share, or nats per
    # token for loss; lower loss counts as gain); for perplexity the share by which it fell.
    min_gain_lower_bound: float = 0.0
    # Held-out rows with that metric. Chosen: with 100 rows the 95 % interval of a share is up to 20 points wide.
    min_n: int = Field(default=100, ge=1)
    # Rows that each control needs before it can vouch for anything. Chosen.
    min_control_n: int = Field(default=20, ge=1)
    # Tuned metric -> least value: {"json_valid": 0.95}.
    floors: dict[str, float] = Field(default_factory=dict)
    # Tuned metric -> greatest value: {"over_declined": 0.05}.
    ceilings: dict[str, float] = Field(default_factory=dict)
    # What floors and ceilings are held against: "interval" lower (floor) or upper (ceiling) bound, "value" the mean.
    bounds: Literal["interval", "value"] = "interval"
    # Greatest upper bound of tuned / base perplexity on every perplexity control that was evaluated; null: not
    # checked. Chosen: 1.10 is a tenth more surprise per token on general text.
    max_perplexity_ratio: float | None = Field(default=1.10, gt=0)
    # Greatest upper bound of the share of unanswerable questions answered, on every such control that was evaluated;
    # null: not checked. Chosen.
    max_answered_unanswerable: float | None = Field(default=0.10, ge=0, le=1)
    # Controls that must have been evaluated, by name.
    required_controls: tuple[str, ...] = ()
