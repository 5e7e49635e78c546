"""What ZenML's store knows of stored artifacts, and forgetting runs and artifacts, for whoever wants disk back."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

from zenml.client import Client

_PAGE = 500


def used_uris(without: frozenset[str] = frozenset()) -> frozenset[str]:
    """URIs of the artifacts that runs wrote or read. `without`: ids of runs that don't count."""
    runs = [run for run in _pages(Client().list_pipeline_runs) if str(run.id) not in without]
    return frozenset(a.uri for run in runs for a in _pages(Client().list_artifact_versions, pipeline_run=run.id))


def run_ids() -> frozenset[str]:
    """Ids of all runs in the store."""
    return frozenset(str(run.id) for run in _pages(Client().list_pipeline_runs))


def unfinished() -> list[str]:
    """Names of the runs that ZenML calls neither ended nor failed."""
    return [run.name for run in _pages(Client().list_pipeline_runs) if not run.status.is_finished]


def forget_run(run_id: str) -> None:
    """Delete a run and its steps from the store, so that no later run takes a step of it from the cache."""
    if any(str(run.id) == run_id for run in Client().list_pipeline_runs(id=UUID(run_id)).items):
        Client().delete_pipeline_run(UUID(run_id))


def forget_unused_artifacts() -> None:
    """Delete the artifacts that no run wrote or read from the store; their files stay."""
    client = Client()
    for version in list(_pages(client.list_artifact_versions, only_unused=True)):
        client.delete_artifact_version(version.id)


def _pages(listed: Callable[..., Any], **filters: Any) -> Iterator[Any]:
    page, pages = 1, 1
    while page <= pages:
        found = listed(**filters, page=page, size=_PAGE)
        yield from found.items
        page, pages = page + 1, found.total_pages
