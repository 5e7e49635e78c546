"""Settings of the gate."""

from typing import Literal

from pydantic import Field

from steps.contracts.evaluation import SubjectName
from steps.contracts.reports import Frozen


class SourceRules(Frozen):
    """What must be declared of every source of the rows, whatever became of its rows; null: anything or nothing.

    A source of which nothing is declared passes no rule.
    """

    licence: tuple[str, ...] | None = Field(None, description="Licences that sources may have.")
    access: tuple[str, ...] | None = Field(None, description="Labels `access` that sources may have.")
    consent: tuple[str, ...] | None = Field(None, description="Labels `consent` that sources may have.")


class GateConfig(Frozen):
    """What a candidate must show, beside the reference on the same rows, before it is promoted.

    Metrics are named as "exact_match" (of the held-out rows) or "<control>/<metric>". Every check reads the side of
    the 95 % interval that speaks against the candidate, unless `bounds` says "value".
    """

    reference: SubjectName = Field(
        "base", description="Evaluated subject that the others are compared with; base: the model that training starts"
        " from."
    )  # fmt: skip
    candidate: SubjectName | None = Field(
        None, description="Evaluated subject that is promoted or not; null: the last one that was trained."
    )
    metric: str | None = Field(
        None,
        description="The metric that must improve; null: the first of field_accuracy, exact_match, rouge_l, loss and"
        " preference_accuracy that was measured on the held-out rows of both.",
    )
    min_gain_lower_bound: float = Field(
        0.0,
        description="The gain must lie strictly above this, so that a tie doesn't pass. In the metric's own unit"
        " (share, or nats per token for loss; lower loss counts as gain); for perplexity the share by which it fell.",
    )
    min_gain_over_champion: float | None = Field(
        None,
        description="The same gain over the registered model's present champion, which is then evaluated on the same"
        " rows, must lie above this: 0 asks for a better one, -0.01 lets one be worse by so much. null: the champion"
        " isn't looked at. Where there is none yet, or it is this very model, nothing is asked.",
    )
    must_beat: dict[SubjectName, float] = Field(
        default_factory=dict,
        description="Further evaluated subjects -> the same gain over each must lie above this, as {prompted: 0}: the"
        " best prompt, or passages, without training.",
    )
    # Chosen: with 100 rows the 95 % interval of a share is up to 20 points wide.
    min_n: int = Field(100, ge=1, description="Held-out rows with that metric, at least.")
    # Chosen.
    min_control_n: int = Field(20, ge=1, description="Rows that each control needs before it can vouch for anything.")
    floors: dict[str, float] = Field(
        default_factory=dict, description="Metric of the candidate -> least value, as {json_valid: 0.95}."
    )
    ceilings: dict[str, float] = Field(
        default_factory=dict, description="Metric of the candidate -> greatest value, as {over_declined: 0.05}."
    )
    max_drop: dict[str, float] = Field(
        default_factory=dict,
        description="Metric -> how much worse than the reference the candidate may be at most, by the bound of the"
        " change that speaks against it, as {general_knowledge/exact_match: 0.05}: what mustn't be forgotten.",
    )
    bounds: Literal["interval", "value"] = Field(
        "interval",
        description="What floors and ceilings are held against: interval: the lower (floor) or upper (ceiling) bound;"
        " value: the mean.",
    )
    # Chosen: 1.10 is a tenth more surprise per token on general text.
    max_perplexity_ratio: float | None = Field(
        1.10,
        gt=0,
        description="Greatest upper bound of candidate / reference perplexity on every perplexity control that was"
        " evaluated; null: not checked.",
    )
    # Chosen.
    max_answered_unanswerable: float | None = Field(
        0.10,
        ge=0,
        le=1,
        description="Greatest upper bound of the share of unanswerable questions answered, on every such control that"
        " was evaluated; null: not checked.",
    )
    # Chosen, for all kinds of base: what the reference does is no excuse, since it may degenerate as well.
    max_degenerate: float | None = Field(
        0.10,
        ge=0,
        le=1,
        description="Greatest upper bound of the share of held-out answers that are empty, loop, or are one and the"
        " same for nearly all prompts (and their wanted answers aren't so); null: not checked.",
    )
    # Chosen: greedily decoded, small models that are fine loop in some of their continuations (Holtzman et al. 2020).
    max_degenerate_continuations: float | None = Field(
        0.50,
        ge=0,
        le=1,
        description="The same for held-out documents that the model went on with; null: not checked.",
    )
    required_controls: tuple[str, ...] = Field((), description="Controls that must have been evaluated, by name.")
    sources: SourceRules = Field(
        SourceRules(),
        description="What must be declared of the sources, as {access: [public, internal], consent: [given]}.",
    )
