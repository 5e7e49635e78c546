"""The index of runs is a copy: it can be made anew from ZenML's store and the artifact stores at any time.

So it also gets to know runs that were started elsewhere, were killed, or went on after the command that started them.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from ops.console import complain
from ops.environment import prepare
from ops.run_index import load_runs, report_path, save_run
from steps.contracts.errors import InputNotFoundError, IntegrityError, ServiceError
from steps.contracts.runs import RunRecord
from steps.contracts.storage import write_whole
from steps.zenml_runtime.state import any_launched

_PAGE = 100


def sync(root: Path) -> list[RunRecord]:
    """Bring every run of ZenML's store that the index lacks, or doesn't know the end of, into it; returns these. One
    whose record is gone, damaged or out of reach is named and left out.

    Runs of this machine whose process has died are marked as failed on the way.
    """
    prepare(root)
    from steps.zenml_runtime.database import open_store, starting
    from steps.zenml_runtime.local_store import reap

    known = {r.run_id for r in load_runs(root, on_broken=lambda _file, _why: None) if r.ended is not None}
    with starting():
        open_store()
        reap(partial(refresh, root))
    found = []
    for run in _all_runs():
        if str(run.id) not in known:
            try:
                found.append(refresh(root, run.id))
            except (InputNotFoundError, IntegrityError, ServiceError) as e:
                # One run whose files are gone, or out of reach, keeps no other from being known.
                complain(f"run {run.name} can't be read: {e}")
    return found


def is_behind(root: Path) -> bool:
    """Whether runs are on their way, or were killed: then the index doesn't say all there is to say."""
    if any_launched():
        return True
    return any(r.ended is None for r in load_runs(root, on_broken=lambda _file, _why: None))


def refresh(root: Path, run_id: UUID) -> RunRecord:
    """Bring one run into the index: as its last step wrote it down, else as far as ZenML's store knows it."""
    from zenml.client import Client

    from pipelines.openlineage.tell import tell_failed
    from pipelines.record import artifacts_in, config_yaml_of, record_of, stored

    run = Client().get_pipeline_run(run_id)
    kept = stored(run)
    record = kept[0] if kept else record_of(run)
    save_run(root, record, config_yaml_of(run))
    if kept:
        write_whole(report_path(root, record.name), kept[1])
    tell_failed(run, record, lambda: artifacts_in(run, record))
    return record


def _all_runs() -> Iterator[Any]:
    """The runs of our pipelines, oldest first: those that say which config they are of."""
    from zenml.client import Client

    page, pages = 1, 1
    while page <= pages:
        found = Client().list_pipeline_runs(tags=["startswith:config:"], sort_by="asc:created", page=page, size=_PAGE)
        yield from found.items
        page, pages = page + 1, found.total_pages
