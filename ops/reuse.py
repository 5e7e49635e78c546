"""Which earlier run a run builds on, and which of its artifacts spare work."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from steps.contracts.errors import InputNotFoundError

LATEST = "latest"
# What steps ask for by `steps.zenml_runtime.earlier`.
REUSABLE = (
    "ingested", "ingest_ledger", "rejects", "ingest_sources", "dedup_index", "scrub_memory", "screen_memory",
    "judge_memory",
)  # fmt: skip
# Chosen: a run of the same name that only fine-tuned keeps nothing; so many are passed over in search of one that does.
_LOOKED_AT = 20


@dataclass(frozen=True)
class Reusable:
    """An earlier run, and the ids of its artifact versions by artifact name."""

    run: str
    artifacts: dict[str, str]


def reusable(config_name: str, wanted: str) -> Reusable | None:
    """The run named `wanted`, or for "latest" the newest completed one of this config name that kept anything.

    None when there is no such run yet.

    Raises:
        InputNotFoundError: a run is named, and it doesn't exist or kept nothing.
    """
    found = (Reusable(run.name, kept) for run in _runs(config_name, wanted) if (kept := _kept(run)))
    first = next(found, None)
    if first is None and wanted != LATEST:
        raise InputNotFoundError(
            f"no run '{wanted}' that kept anything to reuse",
            where="reuse",
            hint="assay runs lists the runs; 'latest' is the newest completed one of this name, null reuses nothing",
        )
    return first


def _runs(config_name: str, wanted: str) -> Iterable[Any]:
    from zenml.client import Client
    from zenml.enums import ExecutionStatus

    client = Client()
    if wanted == LATEST:
        listed = client.list_pipeline_runs(
            tags=[f"config:{config_name}"], status=ExecutionStatus.COMPLETED, sort_by="desc:created", size=_LOOKED_AT
        )
    else:
        listed = client.list_pipeline_runs(name=f"equals:{wanted}", size=1)
    return (client.get_pipeline_run(run.id) for run in listed.items)


def _kept(run: Any) -> dict[str, str]:
    outputs = ((name, versions) for step in run.steps.values() for name, versions in step.outputs.items())
    kept = {name: str(versions[0].id) for name, versions in outputs if name in REUSABLE and versions}
    return kept if "ingest_sources" in kept else {}
