"""The three pipelines as ZenML knows them. Each begins with the step that finds out what the run reads.

`brought`: files that the launcher brought to the artifact store, where steps can't read them in place.
"""

from zenml import pipeline

from pipelines.config import RunConfig
from pipelines.curate import curated
from pipelines.dataset import dataset_step
from pipelines.finetune import finetuned
from pipelines.finish import finish_step
from pipelines.start import started


@pipeline
def curate(config: RunConfig, brought: dict[str, dict[str, str]]) -> None:
    """Sources to dataset version."""
    done = curated(config, started(config, brought))
    finish_step(after=[done.rows])


@pipeline
def finetune(config: RunConfig, brought: dict[str, dict[str, str]]) -> None:
    """Dataset version to registered model."""
    start = started(config, brought)
    registration = finetuned(config, start, dataset_step(start.dataset), [])
    finish_step(after=[registration])


@pipeline
def end_to_end(config: RunConfig, brought: dict[str, dict[str, str]]) -> None:
    """Sources to registered model."""
    start = started(config, brought)
    done = curated(config, start)
    registration = finetuned(config, start, done.rows, done.reports)
    finish_step(after=[registration])
