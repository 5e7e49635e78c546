"""The training step."""

from contextlib import nullcontext
from typing import Annotated, NamedTuple

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.dataset import Dataset
from steps.contracts.ledger import Ledger
from steps.contracts.models import ModelFolder
from steps.contracts.reports import StageReport
from steps.engines.tracking.training import TRAINED
from steps.train.asked import found_model
from steps.train.config import TrainConfig
from steps.train.objectives.registry import objective_of
from steps.train.ranks.config import Ranks
from steps.train.ranks.meeting import MEETINGS, Meet
from steps.train.start import Start
from steps.zenml_runtime.context import (
    executor,
    input_root,
    own_tracker_run,
    phases_to_come,
    track_metrics,
    track_params,
    track_tags,
    training_ranks,
    watch_file,
)
from steps.zenml_runtime.models import load_models
from steps.zenml_runtime.state import state_folder, workspace
from steps.zenml_runtime.step import assay_step, cache_key


class TrainOutputs(NamedTuple):
    """The outputs; their artifacts are named after the phase."""

    model: Annotated[ModelFolder, "{model}"]
    ledger: Annotated[Ledger, "{stage}_ledger"]
    report: Annotated[StageReport, "{stage}_report"]


def key() -> str:
    """Cache key of this step."""
    return cache_key(__name__, ["torch", "transformers", "trl", "peft", "accelerate", "datasets"])


@assay_step(key)
def train_step(
    base: ModelFolder,
    adapter: ModelFolder | None,
    dataset: Dataset,
    config: TrainConfig,
    inputs: dict[str, str],
    registered: dict[str, dict[str, str]],
    phase_bases: list[ModelFolder],
    phase_models: list[ModelFolder],
) -> TrainOutputs:
    """One phase, from `base` or from `adapter` over it. Parameters, metrics and the dataset's digest go to the tracker
    that the stack has.

    `inputs`: digests of what the objective reads from outside. Models that it asks: `registered`, as the run's first
    step found them; `phase_models` of earlier phases, in the config's order, each over its one of `phase_bases`.
    """
    from steps.train.token_cache import Means
    from steps.train.train import train

    settings = {f"train.{name}": value for name, value in config.in_force().items()}
    start = (adapter or base).info
    # Changed code never resumes from what the old code wrote.
    checkpoints = state_folder() / "checkpoints" / key()[:16]
    means = Means(executor(), state_folder() / "tokens" / config.stage, key())
    with own_tracker_run(config.stage) if config.name else nullcontext():
        track_params(
            {"dataset_digest": dataset.digest, "base": start.base.name, "started_from": start.digest, **settings}
        )
        done = train(
            base,
            dataset,
            config,
            workspace(config.stage),
            checkpoints,
            track_metrics,
            adapter,
            means,
            watch_file(config.stage),
            Ranks(**training_ranks()),
            _asked(config, inputs, registered, phase_bases, phase_models),
            Meet(state_folder() / MEETINGS, phases_to_come()),
        )
        track_tags({TRAINED: done.model.info.digest})
    return TrainOutputs(done.model, done.ledger, done.report)


def _asked(
    config: TrainConfig,
    inputs: dict[str, str],
    registered: dict[str, dict[str, str]],
    phase_bases: list[ModelFolder],
    phase_models: list[ModelFolder],
) -> dict[str, Start]:
    """The models that the objective asks, by `ModelSource.key`; those of the hub at the commit that `inputs` has: a
    branch may have moved since the run began.
    """
    root, of_phases = input_root("train"), iter(zip(phase_bases, phase_models, strict=True))
    found: dict[str, Start] = {}
    for source in objective_of(config.objective).asks():
        if source.phase is not None:
            found[source.key] = _start(*next(of_phases))
        elif source.registered:
            known = registered[source.key]
            found[source.key] = _start(*load_models(known["run"], known["weights"]))
        else:
            revision = inputs.get(source.key, source.revision)
            found[source.key] = found_model(source.model_copy(update={"revision": revision}), root)
    return found


def _start(over: ModelFolder, model: ModelFolder) -> Start:
    return Start(model) if model.info.kind == "full" else Start(over, model)
