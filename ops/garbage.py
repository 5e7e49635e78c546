"""What in the state folder nothing needs any more: found, and removed while no run is on its way.

An artifact is needed while a run of ZenML's store or of the index wrote or read it; a shard or a part of a dedup index
while the manifest of a needed artifact names it. All is looked at under the lock that starting runs wait for. What is
removed is named by nothing any more, so that who is killed on the way leaves work for the next call, and no damage.
"""

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from materializers import layout
from ops.environment import prepare
from ops.removals import collected, keep_removal
from ops.run_index import known_runs, run_folder
from ops.sync import refresh
from steps.contracts.errors import StorageError
from steps.contracts.runs import RunRecord
from steps.contracts.storage import writing
from steps.zenml_runtime.state import any_launched, clear_workspaces, state_folder

# An artifact's folder below the store, as ZenML names it: step, output, id of the step's run, eight characters more.
_ARTIFACT = "*_step/*/????????-????-????-????-????????????/????????"
# Steps around those of a run: what they leave is in no record of the index.
_AROUND = ("start_step", "finish_step")
_RUN_OF_STEP = re.compile(r"[0-9a-f-]{36}")
_NAME = re.compile(rb"[0-9a-f]{16,64}")


@dataclass(frozen=True)
class Waste:
    """One file or folder that nothing needs. `kind`: what it is, in words."""

    kind: str
    path: Path
    bytes: int


@contextmanager
def quiet(root: Path) -> Iterator[None]:
    """While no run of this machine is on its way; none starts meanwhile. Runs that died are marked so first.

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
        going = unfinished(state_folder(root))
        if going or any_launched():
            raise StorageError(
                "a run is on its way, and what it will use can't be known: "
                + (", ".join(going) or "it has just begun"),
                where=str(state_folder(root)),
                hint="wait for its end; one that nobody runs any more is marked as failed by `assay runs --sync`",
            )
        yield


def find_waste(root: Path, without: Sequence[RunRecord] = ()) -> list[Waste]:
    """All that nothing needs, as if these runs had never been. Within `quiet`."""
    from steps.zenml_runtime.garbage import run_ids, used_uris

    gone = frozenset(r.run_id for r in without)
    staying = [r for r in known_runs(root) if r.run_id not in gone]
    indexed = {a.uri for r in staying for a in r.artifacts}
    state = state_folder(root)
    # A run that only the index knows doesn't say where its stored record and page lie.
    if {r.run_id for r in staying} - run_ids():
        indexed |= {str(p) for step in _AROUND for p in (state / "artifacts").glob(f"{step}/*/*/*")}
    return [
        *unneeded(state / "artifacts", used_uris(gone) | indexed),
        *_finished_checkpoints(state / "checkpoints"),
        *_measured("copy of a file of a remote store", (state / "cache" / "opened").glob("*")),
    ]


def unneeded(store: Path, needed: frozenset[str]) -> list[Waste]:
    """What lies in an artifact store of this machine besides the artifacts at the `needed` URIs, and what they name."""
    paths = {Path(uri.removeprefix("file://")).resolve() for uri in needed}
    folders = sorted(p for p in store.glob(_ARTIFACT) if p.is_dir())
    kept = [p for p in folders if p.resolve() in paths]
    named = {name.decode() for folder in kept for name in _names_in(folder / layout.MANIFEST)}
    shards = (p for p in sorted((store / "shards").glob("*")) if p.name.split(".")[0] not in named)
    parts = (p for p in sorted((store / "dedup_parts").glob("*")) if p.name not in named)
    return [
        *_measured("artifact that no run names", (p for p in folders if p.resolve() not in paths)),
        *_measured("shard of rows that no dataset names", shards),
        *_measured("part of a dedup index that none names", parts),
    ]


def _names_in(manifest: Path) -> list[bytes]:
    return _NAME.findall(manifest.read_bytes()) if manifest.is_file() else []


def _finished_checkpoints(folder: Path) -> list[Waste]:
    """Of training that reached its last step: its model is an artifact, and no run will go on from here."""
    done = (
        p for p in sorted(folder.glob("*/*")) if any(_is_last(c) for c in p.glob("checkpoint-*/trainer_state.json"))
    )
    return _measured("checkpoints of training that has ended", done)


def _is_last(trainer_state: Path) -> bool:
    try:
        said = json.loads(trainer_state.read_bytes())
        return int(said["global_step"]) >= int(said["max_steps"]) > 0
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _measured(kind: str, paths: Iterator[Path]) -> list[Waste]:
    return [Waste(kind, path, size_of(path)) for path in paths]


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; of what goes meanwhile nothing."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file() and not p.is_symlink()]
    return sum(p.stat().st_size for p in files if p.exists())


def remove(root: Path, found: Sequence[Waste]) -> None:
    """Remove it, and what ZenML's store says of artifacts that no run names. Within `quiet`.

    What goes from the artifact store is written down there first, and signed: an audit tells it from what is gone.
    """
    from steps.zenml_runtime.garbage import forget_unused_artifacts

    store = state_folder(root) / "artifacts"
    evidence = [w for w in found if w.path.is_relative_to(store)]
    if evidence:
        keep_removal(root, collected((w.path, w.kind) for w in evidence), [str(store)])
    # First the words, then the files: what is named must be whole.
    forget_unused_artifacts()
    for waste in found:
        with writing(waste.path):
            if waste.path.is_dir():
                shutil.rmtree(waste.path)
            else:
                waste.path.unlink(missing_ok=True)
        _remove_empty(waste.path.parent)
    clear_workspaces()


def _remove_empty(folder: Path) -> None:
    """The folder of a step's run goes with its last artifact."""
    with suppress(OSError):  # not empty, or gone
        if _RUN_OF_STEP.fullmatch(folder.name):
            folder.rmdir()


def forget(root: Path, runs: Sequence[RunRecord]) -> None:
    """Delete runs from ZenML's store and from the index, in this order: what is left of the first is in the second."""
    from steps.zenml_runtime.garbage import forget_run

    for run in runs:
        forget_run(run.run_id)
        shutil.rmtree(run_folder(root, run.name), ignore_errors=True)
