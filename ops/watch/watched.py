"""What is seen of a run's training: its phases' journals, found by the run's name."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ops.run_index import matching_runs
from steps.contracts.errors import InputNotFoundError
from steps.train.watching.journal import FOLDER, SUFFIX, Watched, read_journal
from steps.zenml_runtime.state import state_folder


@dataclass(frozen=True)
class WatchedRun:
    """A run and its phases, in the order in which they began."""

    name: str
    phases: Sequence[Watched]

    @property
    def goes_on(self) -> bool:
        """Whether a phase has begun and not ended; one that died without a word looks so as well."""
        return any(p.ended is None for p in self.phases)


def watch_folder(root: Path) -> Path:
    """A folder per run."""
    return state_folder(root) / FOLDER


def find_watched(root: Path, wanted: str | None) -> str:
    """The name of the run that is meant, of several that fit the newest: by its name, id, config or a beginning; None:
    the one that was written to last.

    Raises:
        InputNotFoundError: nothing of such a run was seen on this machine.
    """
    folders = sorted((f for f in watch_folder(root).glob("*/") if _files(f)), key=_changed, reverse=True)
    if wanted is None:
        found = folders[0].name if folders else None
    else:
        # A run that goes on isn't in the index yet, so its folder's name is asked first.
        found = next((f.name for f in folders if f.name.startswith(wanted)), None) or _of_index(root, wanted, folders)
    if found is None:
        hint = "training that runs elsewhere is seen in the tracker of its stack; `assay runs` lists the runs"
        raise InputNotFoundError(f"no training of {wanted or 'any run'} was seen on this machine", hint=hint)
    return found


def _of_index(root: Path, wanted: str, folders: Sequence[Path]) -> str | None:
    there = {f.name for f in folders}
    return next((r.name for r in matching_runs(root, wanted) if r.name in there), None)


def watched_run(root: Path, name: str) -> WatchedRun:
    """What is seen of it by now."""
    phases = [read_journal(f) for f in _files(watch_folder(root) / name)]
    return WatchedRun(name, sorted(phases, key=lambda p: float(p.started.get("time", p.last))))


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SUFFIX}"))


def _changed(folder: Path) -> float:
    return max(f.stat().st_mtime for f in _files(folder))
