"""Every step there is, as ZenML knows it: what tests walk over."""

from typing import Any

from pipelines.stages import STAGES, imported


def all_steps() -> tuple[Any, ...]:
    """The steps of every run, and those of all stages between them in the order of the data."""
    from pipelines.dataset import dataset_step
    from pipelines.finish import finish_step
    from pipelines.start import start_step

    return (start_step, dataset_step, *(imported(stage.step) for stage in STAGES), finish_step)
