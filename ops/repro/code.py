"""The code of a recorded commit in a folder of its own, with what the config reads beside it."""

import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

from steps.contracts.errors import InputNotFoundError
from steps.contracts.runs import RunRecord
from steps.zenml_runtime.commit import COMMIT_FILE
from steps.zenml_runtime.urls import is_url

DIRTY = "+changes"
_GLOB = frozenset("*?[{")


def check_out(root: Path, run: RunRecord, folder: Path) -> None:
    """Unpack the tree of the run's commit into `folder`. What wasn't committed then isn't in it.

    Raises:
        InputNotFoundError: the run recorded no commit, or this repository doesn't have it.
    """
    commit = (run.commit or "").removesuffix(DIRTY)
    if not commit:
        what = "the run recorded no commit: its code wasn't in a git checkout"
        raise InputNotFoundError(what, where=run.name, hint="--here runs it with the code of this checkout")
    archive = folder.with_suffix(".tar")
    words = ["git", "-C", str(root), "archive", "--format=tar", f"--output={archive}", commit]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=600)
        why = done.stderr.strip().splitlines()[-1] if done.returncode else ""
    except OSError as e:
        why = str(e)
    if why:
        hint = "git fetch it (a shallow clone lacks old ones); --here runs it with the code of this checkout"
        raise InputNotFoundError(f"git can't give commit {commit}: {why}", where=str(root), hint=hint)
    with tarfile.open(archive) as tar:
        # Git wrote it here; Pythons before 3.11.4 have no filters.
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(folder)
    archive.unlink()
    (folder / COMMIT_FILE).write_text(f"{commit}\n", encoding="utf-8")


def lay_beside(names: Iterable[str], root: Path, folder: Path) -> None:
    """Link what relative names of a config mean below `root` into `folder`, where the commit doesn't have it itself."""
    for name in names:
        path = Path(name)
        if is_url(name) or path.is_absolute() or ".." in path.parts:
            continue
        plain = tuple(_until_glob(path))
        there, here = root.joinpath(*plain), folder.joinpath(*plain)
        if plain and there.exists() and not here.exists():
            here.parent.mkdir(parents=True, exist_ok=True)
            here.symlink_to(there)


def _until_glob(path: Path) -> Iterable[str]:
    for part in path.parts:
        if _GLOB & set(part):
            return
        yield part
