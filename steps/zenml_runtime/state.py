"""The state folder: what outlives a step on this machine. Imports no ZenML."""

import os
import shutil
import stat
import tempfile
from pathlib import Path

from steps.contracts.errors import StorageError

# The checkout, or where a remote step unpacked the code archive.
_HOME = Path(__file__).resolve().parents[2]


def state_folder(root: Path | None = None) -> Path:
    """Folder for what outlives a step on this machine: ZenML's store, run records, checkpoints, caches.

    ASSAY_STATE names it; else it is `.zenml/state` below `root` (the checkout by default), and where nothing can be
    written there a folder of this user's own below the system's temporary one. It need not exist yet.

    Raises:
        StorageError: that temporary folder belongs to somebody else.
    """
    if named := os.environ.get("ASSAY_STATE"):
        return Path(named).resolve()
    home = root or _HOME
    folder = home / ".zenml" / "state"
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    return folder.resolve() if os.access(existing, os.W_OK) else _temporary()


def _temporary() -> Path:
    """A folder below the system's temporary one whose name anybody can foresee: so its owner is checked."""
    folder = Path(tempfile.gettempdir()) / f"assay-state-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise StorageError(
                "this folder belongs to somebody else, or is no folder",
                where=str(folder),
                hint="set ASSAY_STATE to a folder of your own",
            ) from None
    return folder


def workspace(step_name: str) -> Path:
    """A fresh folder for one execution of a step; its content is copied to the artifact store by the materializers."""
    parent = state_folder() / "work" / str(os.getpid())
    parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Path(tempfile.mkdtemp(prefix=f"{step_name}-", dir=parent))


def clear_workspaces() -> None:
    """Remove what this process's steps left, and those of dead processes; the artifact store has links or copies."""
    for folder in (state_folder() / "work").glob("*"):
        if folder.name == str(os.getpid()) or not Path(f"/proc/{folder.name}").exists():
            shutil.rmtree(folder, ignore_errors=True)


def any_launched() -> bool:
    """Whether a run is on its way on this machine, or its process died: only a good end removes the lock's file."""
    return any((state_folder() / "locks").glob("*.lock"))
