"""The three pipelines as ZenML knows them. Each begins with the step that finds out what the run reads."""

from zenml import pipeline

from pipelines.config import RunConfig
from pipelines.curate import curated
from pipelines.dataset import dataset_step
from pipelines.finetune import finetuned
from pipelines.finish import finish_step
from pipelines.start import started


@pipeline
def curate(config: RunConfig) -> None:
    """Sources to dataset version."""
    done = curated(config, started(config))
    finish_step(after=[done.rows])


@pipeline
def finetune(config: RunConfig) -> None:
    """Dataset version to registered model."""
    start = started(config)
    registration = finetuned(config, start, dataset_step(start.dataset), [])
    finish_step(after=[registration])


@pipeline
def end_to_end(config: RunConfig) -> None:
    """Sources to registered model."""
    start = started(config)
    done = curated(config, start)
    registration = finetuned(config, start, done.rows, done.reports)
    finish_step(after=[registration])
