"""The objectives there are."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from steps.contracts.records import Row
from steps.train.objectives.continued_pretraining import ContinuedPretraining, ContinuedPretrainingOptions
from steps.train.objectives.distill import Distill
from steps.train.objectives.distill_options import DistillOptions
from steps.train.objectives.dpo import Dpo
from steps.train.objectives.dpo_options import DpoOptions
from steps.train.objectives.grpo import Grpo
from steps.train.objectives.kto import Kto
from steps.train.objectives.kto_options import KtoOptions
from steps.train.objectives.objective import Objective
from steps.train.objectives.online_options import GrpoOptions, RlooOptions
from steps.train.objectives.orpo import Orpo
from steps.train.objectives.orpo_options import OrpoOptions
from steps.train.objectives.reward import Reward
from steps.train.objectives.reward_options import RewardOptions
from steps.train.objectives.rloo import Rloo
from steps.train.objectives.sft import Sft, SftOptions


def _of_some_kind(value: Any) -> Any:
    """Options without a kind are sft's."""
    return {"kind": "sft", **value} if isinstance(value, Mapping) else value


ObjectiveOptions: TypeAlias = Annotated[
    SftOptions
    | ContinuedPretrainingOptions
    | DpoOptions
    | KtoOptions
    | OrpoOptions
    | RewardOptions
    | GrpoOptions
    | RlooOptions
    | DistillOptions,
    Field(discriminator="kind"),
    BeforeValidator(_of_some_kind),
]
OBJECTIVES: Mapping[str, Callable[[Any], Objective]] = {
    "sft": Sft,
    "continued_pretraining": ContinuedPretraining,
    "dpo": Dpo,
    "kto": Kto,
    "orpo": Orpo,
    "reward": Reward,
    "grpo": Grpo,
    "rloo": Rloo,
    "distill": Distill,
}


_OPTIONS: TypeAdapter[Any] = TypeAdapter(ObjectiveOptions)


def ways_out(objective: Objective, row: Row) -> list[str]:
    """What can be set so that a row that the objective refuses is trained on: of its own, or another objective."""
    own, takers = objective.otherwise.get(row["kind"]), takers_of(row)
    return [*([own] if own else []), *([f"objective.kind: {' or '.join(takers)} takes them"] if takers else [])]


def takers_of(row: Row) -> list[str]:
    """The objectives that take a row, as their options are by default."""
    return [kind for kind in OBJECTIVES if _takes(kind, row)]


def _takes(kind: str, row: Row) -> bool:
    """Whether an objective takes a row, as its options are by default; no, where it needs some."""
    try:
        return objective_of(_OPTIONS.validate_python({"kind": kind})).refusal(row) is None
    except ValidationError:
        return False


def objective_of(options: ObjectiveOptions) -> Objective:
    """The objective that the options are of."""
    return OBJECTIVES[options.kind](options)
