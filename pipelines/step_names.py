"""Every step there is, in the order of the data: what infra files may bind, and how a run's record is ordered."""

from pipelines.config import RunConfig
from pipelines.stages import STAGES

# Steps that every run has for its own sake; `dataset_step` only where fine-tuning starts from an earlier dataset.
START, DATASET, FINISH = "start_step", "dataset_step", "finish_step"
# A stage that makes several steps stands here once.
KNOWN_STEPS = (START, DATASET, *(f"{stage.name}_step" for stage in STAGES), FINISH)


def step_names(config: RunConfig) -> tuple[str, ...]:
    """The steps of a run, in order."""
    return (START, *(() if config.curates else (DATASET,)), *config.steps, FINISH)


def position_of(step: str) -> int:
    """Where a step stands in the order of the data; `evaluate_base_step` where `evaluate_step` does."""
    kinds = [i for i, known in enumerate(KNOWN_STEPS) if step == known or step.startswith(known.removesuffix("step"))]
    return kinds[0] if kinds else len(KNOWN_STEPS)
