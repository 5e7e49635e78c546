"""Options of orpo."""

from typing import Literal

from pydantic import Field

from steps.contracts.reports import Frozen


class OrpoOptions(Frozen):
    """Odds ratio preference optimisation of pairs, by TRL's ORPOTrainer."""

    kind: Literal["orpo"] = Field("orpo", description="Odds ratio preference optimisation (arXiv 2403.07691): pairs.")
    beta: float = Field(
        0.1, gt=0, description="Weight of the odds ratio beside the chosen answer's likelihood; the paper's lambda."
    )
