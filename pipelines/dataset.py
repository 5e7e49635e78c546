"""The dataset version that fine-tuning alone starts from."""

from typing import Annotated, NoReturn

import materializers.all  # noqa: F401 - says how the outputs are stored
from pipelines.reuse import LATEST, completed_runs
from steps.contracts.dataset import Dataset
from steps.contracts.errors import ConfigError, InputNotFoundError
from steps.zenml_runtime.step import assay_step, cache_key

# Name of the artifact that curation ends with.
CURATED = "curated"


def find_dataset(name: str, config_name: str) -> str:
    """Id of the ZenML artifact version of a curated dataset: by the name of its run or of its config, "latest", or a
    prefix of its digest. Of a config it is what its newest completed run made; "latest" is that of `config_name`.

    Raises:
        InputNotFoundError: none matches.
        ConfigError: a digest prefix matches several versions.
    """
    from zenml.client import Client

    newest = _newest_of(config_name if name == LATEST else name)
    if newest or name == LATEST:
        return newest or _raise_none(config_name)
    versions = Client().list_artifact_versions(artifact=CURATED, size=500, sort_by="desc:created", hydrate=True).items
    by_run = [v for v in versions if v.run and v.run.name == name]
    if by_run:
        return str(by_run[0].id)
    by_digest = {
        str(v.run_metadata.get("digest")): v for v in versions if str(v.run_metadata.get("digest")).startswith(name)
    }
    if len(by_digest) > 1:
        raise ConfigError(
            f"'{name}' is the start of {len(by_digest)} dataset digests", where="dataset", hint="add characters"
        )
    if not by_digest:
        known = ", ".join(dict.fromkeys(v.run.name for v in versions[:5] if v.run)) or "none yet"
        raise InputNotFoundError(
            f"no curated dataset '{name}'",
            where="dataset",
            hint=f"newest runs with one: {known}; or run pipeline: curate first",
        )
    return str(next(iter(by_digest.values())).id)


def digest_of(version: str) -> str:
    """Digest of a dataset by the id of its artifact version."""
    from zenml.client import Client

    return str(Client().get_artifact_version(version).run_metadata.get("digest") or version)


def _newest_of(config_name: str) -> str | None:
    """The dataset that the newest completed run of a config ended with, be it from the cache; None without one."""
    for run in completed_runs(config_name):
        made = (versions for step in run.steps.values() for name, versions in step.outputs.items() if name == CURATED)
        for versions in made:
            return str(versions[0].id)
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
