"""Every step there is, as ZenML knows it: what tests walk over."""

from collections.abc import Iterator, Sequence
from typing import Any

from pipelines.stages import CURATION, STAGES, Stage, imported


def all_steps() -> tuple[Any, ...]:
    """The steps of every run, and those of all stages between them in the order of the data."""
    from pipelines.dataset import dataset_step
    from pipelines.finish import finish_step
    from pipelines.start import start_step

    return (start_step, dataset_step, *_of(STAGES), finish_step)


def curation_steps() -> tuple[Any, ...]:
    """Those of them that a run which only curates may have."""
    from pipelines.finish import finish_step
    from pipelines.start import start_step

    return (start_step, *_of(CURATION), finish_step)


def _of(stages: Sequence[Stage]) -> Iterator[Any]:
    return (imported(path) for stage in stages for path in (stage.share, stage.step) if path)
