"""The pipelines as ZenML knows them. Each begins with the step that finds out what the run reads.

`brought`: files that the launcher brought to the artifact store, where steps can't read them in place.
"""

from zenml import pipeline

from pipelines.config import RunConfig
from pipelines.curate import curated
from pipelines.data_report import described
from pipelines.dataset import dataset_step
from pipelines.finetune import finetuned, trained
from pipelines.finish import finish_step
from pipelines.monitor import monitored
from pipelines.start import started
from pipelines.steps_list import all_steps, curation_steps
from steps.evaluate.step import evaluate_champion_step
from steps.zenml_runtime.dynamic import keyed_as_any_other, parsing_alone


@pipeline
def curate(config: RunConfig, brought: dict[str, dict[str, str]]) -> None:
    """Sources to dataset version."""
    done = curated(config, started(config, brought))
    finish_step(after=[done.rows])


# A step that isn't named before would get nothing of what the infra file says.
@pipeline(name="curate", dynamic=True, depends_on=list(curation_steps()))
def curate_in_shares(config: RunConfig, brought: dict[str, dict[str, str]], shares: dict[str, int]) -> None:
    """The same, row-wise work by several steps. The orchestrator calls this while the run goes on."""
    with parsing_alone(), keyed_as_any_other():
        curated(config, started(config, brought), shares)
        finish_step()


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


# What the infra file says of one step is found by its function: all phases' is `train_step`.
_FUNCTIONS = [*all_steps(), evaluate_champion_step]


@pipeline(name="end_to_end", dynamic=True, depends_on=_FUNCTIONS)
def end_to_end_in_shares(config: RunConfig, brought: dict[str, dict[str, str]], shares: dict[str, int]) -> None:
    """The same, row-wise work by several steps."""
    with parsing_alone(), keyed_as_any_other():
        start = started(config, brought)
        done = curated(config, start, shares)
        finetuned(config, start, done.rows, done.reports)
        finish_step()


@pipeline
def train(config: RunConfig, brought: dict[str, dict[str, str]]) -> None:
    """Sources, or a dataset version, to a trained model: what a trial of a sweep is."""
    start = started(config, brought)
    rows = curated(config, start).rows if config.curates else dataset_step(start.dataset)
    finish_step(after=trained(config, start, rows)[-1:])


@pipeline
def monitor(config: RunConfig, brought: dict[str, dict[str, str]]) -> None:
    """Logs of production to a decision."""
    finish_step(after=[monitored(config, started(config, brought))])


@pipeline
def data_report(config: RunConfig, brought: dict[str, dict[str, str]]) -> None:
    """A look at sources, or at a dataset version, of which nothing is made."""
    finish_step(after=[described(config, started(config, brought))])


@pipeline(name="train", dynamic=True, depends_on=_FUNCTIONS)
def train_in_shares(config: RunConfig, brought: dict[str, dict[str, str]], shares: dict[str, int]) -> None:
    """The same, row-wise work by several steps."""
    with parsing_alone(), keyed_as_any_other():
        start = started(config, brought)
        trained(config, start, curated(config, start, shares).rows)
        finish_step()
