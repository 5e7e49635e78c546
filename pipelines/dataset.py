"""The dataset version that fine-tuning alone starts from."""

from dataclasses import dataclass
from typing import Annotated, Any, NoReturn
from uuid import UUID

import materializers.all  # noqa: F401 - says how the outputs are stored
from pipelines.config import RunConfig
from pipelines.reuse import LATEST, completed_runs
from pipelines.step_names import DATASET, position_of
from steps.contracts.dataset import Dataset
from steps.contracts.errors import ConfigError, InputNotFoundError
from steps.contracts.provenance import DeclaredSource
from steps.engines.tracking.secrets import without_secret
from steps.ingest.config import SourceConfig
from steps.zenml_runtime.context import DATASET_RUN, SOURCES, noted
from steps.zenml_runtime.step import assay_step, cache_key

# As ZenML's store has the type of datasets.
_DATASETS = f"contains:{Dataset.__module__}"
# What a look at production makes; the rows that scrub leaves of it have the name of any other's.
_OF_PRODUCTION = ("logged", "monitor_sample", "candidates")
# Chosen: so many versions are searched for a digest.
_LOOKED_AT = 1000


@dataclass(frozen=True)
class FoundDataset:
    """A curated dataset.

    Attributes:
        version: id of ZenML's artifact version.
        run: id of the run that is meant, which may have taken it from the cache; by digest, of the one that made it.
    """

    version: str
    run: str


def find_dataset(name: str, config_name: str) -> FoundDataset:
    """A curated dataset by the name of its run or of its config, "latest", or a prefix of its digest. Of a config it is
    what its newest completed run made; "latest" is that of `config_name`.

    Raises:
        InputNotFoundError: none matches.
        ConfigError: a digest prefix matches several versions.
    """
    from zenml.client import Client

    newest = _newest_of(config_name if name == LATEST else name)
    if newest or name == LATEST:
        return newest or _raise_none(config_name)
    client = Client()
    for run in client.list_pipeline_runs(name=f"equals:{name}", size=1, hydrate=True).items:
        if (last := _ended_with(run)) is not None:
            return FoundDataset(str(last.id), str(run.id))
    versions = client.list_artifact_versions(data_type=_DATASETS, size=_LOOKED_AT, sort_by="desc:created", hydrate=True)
    whole = [v for v in versions.items if _goes_on(v)]
    # Of equal digests the newest.
    by_digest = {d: v for v in reversed(whole) if (d := str(v.run_metadata.get("digest"))).startswith(name)}
    if len(by_digest) > 1:
        raise ConfigError(
            f"'{name}' is the start of {len(by_digest)} dataset digests", where="dataset", hint="add characters"
        )
    if not by_digest:
        known = ", ".join(list(dict.fromkeys(v.run.name for v in whole if v.run))[:5]) or "none yet"
        raise InputNotFoundError(
            f"no dataset '{name}'",
            where="dataset",
            hint=f"newest runs with one: {known}; or run pipeline: curate first",
        )
    return _made(next(iter(by_digest.values())))


def _ended_with(run: Any) -> Any:
    """The artifact version of the dataset that a run's curation ended with, be it from the cache; None without one.

    What a look at production has read is none: nobody has agreed that a model is trained on it. What a look at data has
    read is none either: nothing was taken out of it.
    """
    if "logs_step" in run.steps or "data_report_step" in run.steps:
        return None
    steps = sorted(run.steps.values(), key=lambda s: position_of(s.name))
    made = [v for step in steps if step.name != DATASET for versions in step.outputs.values() for v in versions]
    return next((v for v in reversed(made) if v.data_type.attribute == Dataset.__name__ and _goes_on(v)), None)


def _goes_on(version: Any) -> bool:
    """Whether its rows were curated, and weren't set aside for a person."""
    return "quarantin" not in version.name and version.name not in _OF_PRODUCTION


def _made(version: Any) -> FoundDataset:
    return FoundDataset(str(version.id), str(version.producer_pipeline_run_id or ""))


def dataset_of(run: Any) -> FoundDataset | None:
    """The dataset that a run (PipelineRunResponse) trained on: its own, or the one that it started from."""
    last = _ended_with(run)
    if last is not None:
        return FoundDataset(str(last.id), str(run.id))
    facts = noted(run)
    version, made_by = facts.get("dataset"), facts.get(DATASET_RUN)
    return FoundDataset(str(version), str(made_by or "")) if version else None


def declared_sources(config: RunConfig, dataset_run: str) -> tuple[DeclaredSource, ...]:
    """What is declared of the sources that a run's rows come from: by its config, or for fine-tuning alone by that of
    the run with this id; () where that is gone.
    """
    if config.ingest is not None and config.curates:
        return tuple(_declared(s) for s in config.ingest.sources)
    from zenml.client import Client

    runs = Client().list_pipeline_runs(id=UUID(dataset_run), hydrate=True).items if dataset_run else ()
    return tuple(DeclaredSource.model_validate(s) for run in runs for s in noted(run).get(SOURCES, ()))


def _declared(source: SourceConfig) -> DeclaredSource:
    location = source.path or f"{source.hub}@{source.revision}"
    said = source.model_dump(include={"name", "licence", "access", "consent"})
    return DeclaredSource(location=without_secret(location), **said)


def digest_of(version: str) -> str:
    """Digest of a dataset by the id of its artifact version."""
    from zenml.client import Client

    return str(Client().get_artifact_version(version).run_metadata.get("digest") or version)


def _newest_of(config_name: str) -> FoundDataset | None:
    """The dataset that the newest completed run of a config ended with, be it from the cache; None without one."""
    for run in completed_runs(config_name):
        if (last := _ended_with(run)) is not None:
            return FoundDataset(str(last.id), str(run.id))
    return None


def _raise_none(config_name: str) -> NoReturn:
    raise InputNotFoundError(
        f"no completed run of {config_name} has made a dataset yet",
        where="dataset: latest",
        hint="latest is the newest of this config's own name; name the config that makes it, such as dataset: support",
    )


def key() -> str:
    """Cache key of this step."""
    return cache_key(__name__)


@assay_step(key)
def dataset_step(version: str) -> Annotated[Dataset, "dataset"]:
    """Hand on a curated dataset by the id of its artifact version; its shards aren't stored again."""
    from zenml.client import Client

    dataset: Dataset = Client().get_artifact_version(version).load()
    return dataset
