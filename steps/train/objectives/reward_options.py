"""Options of reward."""

from typing import Literal

from pydantic import Field

from steps.contracts.reports import Frozen


class RewardOptions(Frozen):
    """Reward modelling of pairs, by TRL's RewardTrainer: a model with one output in the place of its tokens."""

    kind: Literal["reward"] = Field("reward", description="A reward model (Bradley-Terry): pairs.")
    center_rewards: float = Field(
        0.0,
        ge=0,
        description="Weight of the squared sum of a pair's rewards, which keeps their mean at 0 (arXiv 2312.09244 takes"
        " 0.01).",
    )
