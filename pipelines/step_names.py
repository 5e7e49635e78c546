"""Every step there is, in the order of the data: what infra files may bind, and how a run's record is ordered."""

from collections.abc import Iterable

from pipelines.config import RunConfig
from pipelines.stages import STAGES

# Steps that every run has for its own sake; `dataset_step` only where fine-tuning starts from an earlier dataset.
START, DATASET, FINISH = "start_step", "dataset_step", "finish_step"
# A stage that makes several steps stands here once.
_OF_STAGES = (f"{s.name}{kind}" for s in STAGES for kind in (("_share_step", "_step") if s.share else ("_step",)))
KNOWN_STEPS = (START, DATASET, *_OF_STAGES, FINISH)


def step_names(config: RunConfig) -> tuple[str, ...]:
    """The steps of a run, in order."""
    return (START, *(() if config.curates else (DATASET,)), *config.steps, FINISH)


def share_steps(stages: Iterable[str]) -> tuple[str, ...]:
    """The steps that compute shares of these stages' rows, as an infra file names them."""
    return tuple(f"{stage}_share_step" for stage in stages)


def share_step(stage: str, number: int) -> str:
    """Name of the step of one share (0 is the first) in a run."""
    return f"{stage}_share_{number + 1}_step"


def position_of(step: str) -> int:
    """Where a step stands in the order of the data; `evaluate_base_step` where `evaluate_step` does."""
    kinds = [i for i, known in enumerate(KNOWN_STEPS) if step == known or step.startswith(known.removesuffix("step"))]
    return kinds[0] if kinds else len(KNOWN_STEPS)
