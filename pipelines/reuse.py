"""Which earlier run a run builds on, and which of its artifacts spare work."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pipelines.config import RunConfig
from pipelines.stages import REUSABLE
from steps.contracts.errors import ConfigError, InputNotFoundError

LATEST = "latest"
# Chosen: a run of the same name that only fine-tuned keeps nothing; so many are passed over in search of one that does.
_LOOKED_AT = 20


@dataclass(frozen=True)
class Reusable:
    """An earlier run, and the ids of its artifact versions by artifact name."""

    run: str
    artifacts: dict[str, str]


def reusable(config: RunConfig, wanted: str) -> Reusable | None:
    """The run named `wanted`, or for "latest" the newest completed one of this config name that kept anything.

    None when there is no such run yet. A run that is named must fit; of the latest is taken what fits.

    Raises:
        InputNotFoundError: a run is named, and it doesn't exist or kept nothing.
        ConfigError: a run is named, and its dedup index was made under other settings.
    """
    found = ((run, kept) for run in _runs(config.name, wanted) if (kept := _kept(run)))
    run, kept = next(found, (None, {}))
    if run is None and wanted != LATEST:
        raise InputNotFoundError(
            f"no run '{wanted}' that kept anything to reuse",
            where="reuse",
            hint="assay runs lists the runs; 'latest' is the newest completed one of this name, null reuses nothing",
        )
    if wanted != LATEST and "dedup" not in config.skip:
        _check_index(run, config)
    return Reusable(run.name, {name: str(version.id) for name, version in kept.items()}) if run else None


def _check_index(run: Any, config: RunConfig) -> None:
    """Refuse a named run whose dedup index can't serve, before anything is computed.

    Raises:
        ConfigError: it was made under other settings.
    """
    from steps.dedup.band_index import settings_digest

    index = _kept(run).get("dedup_index")
    made_under = index.run_metadata.get("settings") if index else None
    if made_under and made_under != settings_digest(config.dedup):
        raise ConfigError(
            f"the dedup index of {run.name} was made under other dedup settings than this config's",
            where="reuse",
            hint="restore its dedup settings, reuse another run, or start anew: `--set reuse=null`, or"
            " `reuse: latest`, which compares all rows again where settings changed",
        )


def _runs(config_name: str, wanted: str) -> Iterable[Any]:
    from zenml.client import Client

    if wanted == LATEST:
        return completed_runs(config_name)
    client = Client()
    return (client.get_pipeline_run(run.id) for run in client.list_pipeline_runs(name=f"equals:{wanted}", size=1).items)


def completed_runs(config_name: str) -> Iterator[Any]:
    """The newest completed runs (PipelineRunResponse) of a config, newest first."""
    from zenml.client import Client
    from zenml.enums import ExecutionStatus

    client = Client()
    listed = client.list_pipeline_runs(
        tags=[f"config:{config_name}"], status=ExecutionStatus.COMPLETED, sort_by="desc:created", size=_LOOKED_AT
    )
    return (client.get_pipeline_run(run.id) for run in listed.items)


def _kept(run: Any) -> dict[str, Any]:
    outputs = ((name, versions) for step in run.steps.values() for name, versions in step.outputs.items())
    kept = {name: versions[0] for name, versions in outputs if name in REUSABLE and versions}
    return kept if "ingest_sources" in kept else {}
