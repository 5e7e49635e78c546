"""Options of kto."""

from typing import Literal

from pydantic import Field

from steps.contracts.reports import Frozen


class KtoOptions(Frozen):
    """Kahneman-Tversky optimisation of labelled answers, by TRL's KTOTrainer."""

    kind: Literal["kto"] = Field(
        "kto", description="Kahneman-Tversky optimisation (arXiv 2402.01306): answers that are wanted or not."
    )
    beta: float = Field(
        0.1, gt=0, description="How much it costs to leave the model that training starts from; 0.1 in the paper."
    )
    desirable_weight: Literal["auto"] | float = Field(
        "auto",
        description="Weight of a wanted answer's loss. auto: 1, or so much that wanted and unwanted answers weigh the"
        " same where there are fewer of these (the paper's eq. 8 allows up to a third more).",
    )
    undesirable_weight: Literal["auto"] | float = Field("auto", description="The same of unwanted answers.")
    preference_as: Literal["labelled", "skip"] = Field(
        "labelled", description="Preference rows: a wanted and an unwanted answer each, or left out."
    )
