"""The state folder: what outlives a step on this machine. Imports no ZenML."""

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from steps.contracts.errors import StorageError
from steps.contracts.locks import OwnFolder, remove_left
from steps.contracts.storage import STATE, STATE_URI, WORK, writing

# The checkout, or where a remote step unpacked the code archive.
_HOME = Path(__file__).resolve().parents[2]
# Orchestrators whose steps run on the machine of their launcher, in its checkout: in its process, or in their own.
PROCESSES = "processes"
ON_THIS_MACHINE = ("local", PROCESSES)
# Orchestrators of which nothing goes on when the launcher has died: it starts the steps, or their containers, itself.
DRIVEN = (*ON_THIS_MACHINE, "local_docker")
# What group and others may do; what makes a file a program.
_OTHERS, _PROGRAM = 0o077, 0o111


def state_folder(root: Path | None = None) -> Path:
    """Folder for what outlives a step on this machine: ZenML's store, run records, checkpoints, caches.

    ASSAY_STATE names it; else it is `.zenml/state` below `root` (the checkout by default), and where nothing can be
    written there a folder of this user's own below the system's temporary one. It is there, and what lies in it is
    readable by its owner only: it holds raw rows.

    Raises:
        StorageError: the named folder can't be written to, or the temporary one belongs to somebody else.
    """
    if named := os.environ.get(STATE):
        folder = Path(named)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    else:
        folder = (root or _HOME) / ".zenml" / "state"
        if not _is_writable(folder):
            folder = _temporary()
    _close(folder)
    return folder.resolve()


def state_location(root: Path | None = None) -> Path:
    """Where the state folder is, or would be made; nothing is made, for those who only look."""
    named = os.environ.get(STATE)
    return (Path(named) if named else (root or _HOME) / ".zenml" / "state").resolve()


def use_state(uri: str, root: Path | None = None) -> Path:
    """Tell all that this process reads and writes where state lies here, and where it lasts ("": here). Returns the
    folder here.
    """
    folder = state_folder(root)
    os.environ[STATE] = str(folder)
    os.environ[STATE_URI] = uri
    return folder


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


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


def _close(folder: Path) -> None:
    """Take others' rights away from a folder that was there before, and from what lies in it: folders 700, files 600.

    One look at most times: what lies in a closed folder is out of others' reach, whatever its mode. A folder that
    others share by design (sticky, or of another owner) is left as it is.
    """
    found = folder.stat()
    if not found.st_mode & _OTHERS or found.st_mode & stat.S_ISVTX or found.st_uid != os.getuid():
        return
    for place in (folder, *folder.rglob("*")):
        if not place.is_symlink():
            with suppress(OSError):  # gone meanwhile, or somebody else's
                place.chmod(place.stat().st_mode & ~(_OTHERS if place.is_dir() else _OTHERS | _PROGRAM))


# Folders of this process for what its steps write, by the folder they lie in.
_own: dict[Path, OwnFolder] = {}


def workspace(step_name: str) -> Path:
    """A fresh folder for one execution of a step; its content is copied to the artifact store by the materializers."""
    parent = state_folder() / WORK
    if parent not in _own:
        _own[parent] = OwnFolder(parent)
    return Path(tempfile.mkdtemp(prefix=f"{step_name}-", dir=_own[parent].path))


def clear_workspaces() -> None:
    """Remove what this process's steps left, and those of dead processes; the artifact store has links or copies."""
    parent = state_folder() / WORK
    if parent in _own:
        _own.pop(parent).close()
    remove_left(parent)


def any_launched() -> bool:
    """Whether a run is on its way on this machine, or its process died: only a good end removes the lock's file."""
    return any((state_folder() / "locks").glob("*.lock"))
