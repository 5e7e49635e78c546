"""The dataset version that fine-tuning alone starts from."""

from typing import Annotated

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.dataset import Dataset
from steps.contracts.errors import ConfigError, InputNotFoundError
from steps.zenml_runtime.step import assay_step, cache_key


def find_dataset(name: str) -> str:
    """Id of the ZenML artifact version of a curated dataset: by run name, "latest", or a prefix of its digest.

    Raises:
        InputNotFoundError: none matches.
        ConfigError: a digest prefix matches several versions.
    """
    from zenml.client import Client

    versions = Client().list_artifact_versions(artifact="curated", size=500, sort_by="desc:created", hydrate=True).items
    if name == "latest" and versions:
        return str(versions[0].id)
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


def key() -> str:
    """Cache key of this step."""
    return cache_key(__name__)


@assay_step(key)
def dataset_step(version: str) -> Annotated[Dataset, "dataset"]:
    """Hand on a curated dataset by the id of its artifact version; its shards aren't stored again."""
    from zenml.client import Client

    dataset: Dataset = Client().get_artifact_version(version).load()
    return dataset
