"""The training step."""

from typing import Annotated, NamedTuple

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.dataset import Dataset
from steps.contracts.ledger import Ledger
from steps.contracts.models import ModelFolder
from steps.contracts.reports import StageReport
from steps.train.config import TrainConfig
from steps.zenml_runtime.context import track_metrics, track_params
from steps.zenml_runtime.state import state_folder, workspace
from steps.zenml_runtime.step import assay_step, cache_key


class TrainOutputs(NamedTuple):
    """The outputs."""

    model: Annotated[ModelFolder, "tuned"]
    ledger: Annotated[Ledger, "train_ledger"]
    report: Annotated[StageReport, "train_report"]


def key() -> str:
    """Cache key of this step."""
    return cache_key(__name__, ["torch", "transformers", "trl", "peft", "accelerate", "datasets"])


@assay_step(key)
def train_step(base: ModelFolder, dataset: Dataset, config: TrainConfig) -> TrainOutputs:
    """Fine-tune. Parameters, metrics and the dataset's digest go to the tracker that the stack has."""
    from steps.train.train import train

    settings = {f"train.{name}": value for name, value in config.in_force().items()}
    track_params({"dataset_digest": dataset.digest, "base": base.info.base.name, **settings})
    # Changed code never resumes from what the old code wrote.
    checkpoints = state_folder() / "checkpoints" / key()[:16]
    done = train(base, dataset, config, workspace("train"), checkpoints, track_metrics)
    return TrainOutputs(done.model, done.ledger, done.report)
