"""Removing what nothing needs any more, while no run is on its way.

All is looked at under the lock that starting runs wait for. What is removed is named by nothing any more, so that who
is killed on the way leaves work for the next call, and no damage.
"""

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from materializers import layout
from ops.environment import prepare
from ops.garbage.stores import Store
from ops.garbage.waste import Waste
from ops.removals import collected, keep_removal
from ops.run_index import run_folder
from ops.sync import refresh
from ops.watch.watched import watch_folder
from steps.contracts.errors import StorageError
from steps.contracts.removal import RemovedFile
from steps.contracts.runs import RunRecord
from steps.contracts.storage import writing
from steps.zenml_runtime.state import any_launched, clear_workspaces

_RUN_OF_STEP = re.compile(r"[0-9a-f-]{36}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@contextmanager
def quiet(root: Path, store: Store) -> Iterator[None]:
    """While no run of this machine is on its way, nor one that ZenML knows of in the same artifact store; none starts
    here meanwhile. Runs that died are marked so first.

    Raises:
        StorageError: a run is on its way.
    """
    prepare(root)
    from steps.zenml_runtime.database import open_store, starting
    from steps.zenml_runtime.garbage import unfinished
    from steps.zenml_runtime.local_store import reap

    with starting():
        open_store()
        reap(partial(refresh, root))
        going = unfinished(store.uri)
        if going or any_launched():
            raise StorageError(
                "a run is on its way, and what it will use can't be known: "
                + (", ".join(going) or "it has just begun"),
                where=store.uri,
                hint="wait for its end; one that nobody runs any more is marked as failed by `assay runs --sync`",
            )
        yield


def remove(root: Path, store: Store, found: Sequence[Waste]) -> None:
    """Remove it, and what ZenML's store says of artifacts that no run names. Within `quiet`.

    What goes from the artifact store is written down there first, and signed: an audit tells it from what is gone.
    """
    _write_down(root, store, found)
    _clear(store, found)


def forget(root: Path, store: Store, runs: Sequence[RunRecord], found: Sequence[Waste]) -> None:
    """Delete runs from ZenML's store and from the index, and `found`, what only they needed. Within `quiet`.

    First it is written down that they are gone: the records of those that others stand on stay. Last in the index, by
    which whoever is killed on the way names them once more.
    """
    from steps.zenml_runtime.garbage import forget_run

    _write_down(root, store, found, [run.name for run in runs])
    for run in runs:
        forget_run(run.run_id)
        shutil.rmtree(run_folder(root, run.name), ignore_errors=True)
        shutil.rmtree(watch_folder(root) / run.name, ignore_errors=True)
    _clear(store, found)


def _clear(store: Store, found: Sequence[Waste]) -> None:
    from steps.zenml_runtime.garbage import forget_unused_artifacts

    # First the words, then the files: what is named must be whole.
    forget_unused_artifacts()
    for waste in found:
        if waste.name:
            store.remove(waste.name)
            _remove_empty(store, waste)
        else:
            _remove_here(Path(waste.uri))
    clear_workspaces()


def _write_down(root: Path, store: Store, found: Sequence[Waste], runs: Sequence[str] = ()) -> None:
    """Sign what goes from an artifact store, and keep it there."""
    evidence = [file for waste in found if waste.name for file in _files_of(store, waste)]
    if evidence or runs:
        keep_removal(root, collected(evidence, runs), [store.uri])


def _files_of(store: Store, waste: Waste) -> Iterator[RemovedFile]:
    """A shard is named by its SHA-256; an artifact's folder has that of its main file noted beside it."""
    stem = waste.uri.rpartition("/")[2].split(".")[0]
    yield RemovedFile(uri=waste.uri, what=waste.kind, sha256=stem if _SHA256.fullmatch(stem) else None)
    if waste.main and (note := store.read(f"{waste.name}/{layout.CHECKSUM}")) is not None:
        sha256 = note.decode("utf-8", "replace")[:64]
        yield RemovedFile(uri=f"{waste.uri}/{waste.main}", what=waste.kind, sha256=sha256)


def _remove_here(path: Path) -> None:
    with writing(path), suppress(FileNotFoundError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _remove_empty(store: Store, waste: Waste) -> None:
    """The folder of a step's run goes with its last artifact."""
    folder = Path(waste.uri).parent
    if store.local and _RUN_OF_STEP.fullmatch(folder.name):
        with suppress(OSError):  # not empty, or gone
            folder.rmdir()
