"""Every step there is, in the order of the data: what infra files may bind, and how a run's record is ordered."""

from pipelines.config import RunConfig

CURATION_STEPS = (
    "ingest_step", "dedup_step", "split_step", "scrub_step", "screen_step", "semantic_step", "judge_step",
    "review_step", "leakcheck_step",
)  # fmt: skip
TUNING_STEPS = (
    "base_step", "train_step", "evaluate_step", "gate_step", "register_step"
)  # fmt: skip
# Steps that every run has for its own sake; `dataset_step` only where fine-tuning starts from an earlier dataset.
START, DATASET, FINISH = "start_step", "dataset_step", "finish_step"
KNOWN_STEPS = (START, DATASET, *CURATION_STEPS, *TUNING_STEPS, FINISH)


def step_names(config: RunConfig) -> tuple[str, ...]:
    """The steps of a run, in order."""
    skipped = {
        *config.skip,
        *(() if config.review.decisions else ("review",)),
        *(() if config.semantic is not None else ("semantic",)),
    }
    curation = [s for s in CURATION_STEPS if s.removesuffix("_step") not in skipped] if config.curates else [DATASET]
    tuning: list[str] = []
    for step in TUNING_STEPS:
        tuning += [f"evaluate_{s}_step" for s in config.subjects] if step == "evaluate_step" else [step]
    return (START, *curation, *(tuning if config.tunes else ()), FINISH)


def position_of(step: str) -> int:
    """Where a step stands in the order of the data; `evaluate_base_step` where `evaluate_step` does."""
    kinds = [i for i, known in enumerate(KNOWN_STEPS) if step == known or step.startswith(known.removesuffix("step"))]
    return kinds[0] if kinds else len(KNOWN_STEPS)
