"""What ZenML's store knows of stored artifacts, and forgetting runs and artifacts, for whoever wants disk back."""

import json
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

from zenml.client import Client
from zenml.enums import StackComponentType

from steps.zenml_runtime.database import local_database
from steps.zenml_runtime.owner import is_mine
from steps.zenml_runtime.settling import UNFINISHED

_PAGE = 500


def used_uris(without: frozenset[str] = frozenset()) -> frozenset[str]:
    """URIs of the artifacts that runs wrote or read. `without`: ids of runs that don't count."""
    runs = [run for run in _pages(Client().list_pipeline_runs) if str(run.id) not in without]
    return frozenset(a.uri for run in runs for a in _pages(Client().list_artifact_versions, pipeline_run=run.id))


def run_ids() -> frozenset[str]:
    """Ids of all runs in the store."""
    return frozenset(str(run.id) for run in _pages(Client().list_pipeline_runs))


def unfinished(store: str) -> list[str]:
    """Names of the runs that ZenML calls neither ended nor failed; on a server that others use as well, of those whose
    artifacts lie in the store at this URI.
    """
    status = f"oneof:{json.dumps(UNFINISHED)}"
    going = list(_pages(Client().list_pipeline_runs, status=status))
    if local_database() is not None:
        return [run.name for run in going]
    return [run.name for run in going if _stores_in(Client().get_pipeline_run(run.id), store)]


def _stores_in(run: Any, uri: str) -> bool:
    found = run.stack.components[StackComponentType.ARTIFACT_STORE] if run.stack else ()
    return any(_same(str(store.configuration.get("path") or ""), uri) for store in found)


def _same(path: str, uri: str) -> bool:
    if "://" in path or "://" in uri:
        return f"{path.rstrip('/')}/".startswith(f"{uri.rstrip('/')}/")
    return Path(path).resolve().is_relative_to(Path(uri).resolve())


def others_runs(run_ids: Collection[str]) -> list[str]:
    """Names of those of the runs that belong to another user of ZenML's server."""
    found = [run for i in run_ids for run in Client().list_pipeline_runs(id=UUID(i)).items]
    return [run.name for run in found if not is_mine(Client().get_pipeline_run(run.id))]


def forget_run(run_id: str) -> None:
    """Delete a run and its steps from the store, so that no later run takes a step of it from the cache."""
    if any(str(run.id) == run_id for run in Client().list_pipeline_runs(id=UUID(run_id)).items):
        Client().delete_pipeline_run(UUID(run_id))


def forget_unused_artifacts() -> None:
    """Delete the artifacts that no run wrote or read from the store; their files stay.

    Not from a server that others use as well: what another user's step has just stored is named by its run a moment
    later.
    """
    client = Client()
    if local_database() is None:
        return
    for version in list(_pages(client.list_artifact_versions, only_unused=True)):
        client.delete_artifact_version(version.id)


def _pages(listed: Callable[..., Any], **filters: Any) -> Iterator[Any]:
    page, pages = 1, 1
    while page <= pages:
        found = listed(**filters, page=page, size=_PAGE)
        yield from found.items
        page, pages = page + 1, found.total_pages
