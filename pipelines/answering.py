"""The model whose requests are looked at, and what it was trained on, found when a run starts."""

from typing import Any

from pipelines.config import RunConfig
from pipelines.dataset import FoundDataset, dataset_of
from pipelines.registered_models import version_named
from steps.contracts.errors import InputNotFoundError
from steps.zenml_runtime.models import made_by


def find_training(config: RunConfig) -> FoundDataset:
    """The dataset version that the registered model which answers was trained on.

    Raises:
        InputNotFoundError: there is no such version, or its run isn't in this ZenML store.
        ServiceError: the registry is down.
    """
    from zenml.client import Client

    named = _found(config)
    found = dataset_of(Client().get_pipeline_run(named["run"], allow_name_prefix_match=False))
    if found is None:
        what = f"{config.dataset} was made by a run whose dataset is gone from ZenML's store"
        raise InputNotFoundError(what, where="dataset", hint="name the dataset itself")
    return found


def find_answering(config: RunConfig, dataset: FoundDataset | None) -> dict[str, str]:
    """`weights` (their digest) and `run` (ZenML's id of the one that made them) of the model that answers, "" where the
    config names a dataset instead; `scrubbed`: "yes" where the training data was. Empty for other pipelines.

    Raises: as `find_training`.
    """
    if not config.monitors or dataset is None:
        return {}
    model = _found(config) if config.answering is not None else {"weights": "", "run": ""}
    return {**model, "scrubbed": "yes" if is_scrubbed(dataset.run) else ""}


def _found(config: RunConfig) -> dict[str, str]:
    wanted, named = config.answering, config.dataset or ""
    assert wanted is not None
    _, found = version_named(config, named, wanted, "dataset")
    run = found.tags.get("zenml_run_id", "")
    if not found.is_ours or not run or found.weights not in made_by(run):
        raise InputNotFoundError(
            f"{named}, version {found.version}, was made by a run that isn't in this ZenML store", where="dataset",
            hint="use the store that it was made with, or name the dataset that it was trained on",
        )  # fmt: skip
    return {"weights": found.weights, "run": run}


def is_scrubbed(run: str) -> bool:
    """Whether the run that made a dataset had scrub among its steps."""
    from zenml.client import Client

    found: Any = Client().list_pipeline_runs(id=run, size=1, hydrate=True).items if run else []
    return any("scrub_step" in Client().get_pipeline_run(r.id).steps for r in found)
