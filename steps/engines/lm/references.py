"""References to models that others made: a local folder by the digest of its files, a hub model by its commit."""

from pathlib import Path

from steps.contracts.digests import value_digest
from steps.contracts.errors import InputNotFoundError
from steps.contracts.models import BaseRef, ModelFolder, ModelInfo
from steps.engines.lm.folder import count_parameters, model_files


def local_reference(path: Path) -> ModelFolder:
    """A model in a folder, whose files stay where they are.

    Raises:
        InputNotFoundError: there are no safetensors in it.
    """
    path = path.resolve()
    digest = value_digest(model_files(path))
    ref = BaseRef(source="local", name=str(path), digest=digest)
    info = ModelInfo(kind="full", base=ref, digest=digest, files={}, parameters=count_parameters(path))
    return ModelFolder(info, None)


def hub_reference(name: str, commit: str, folder: Path) -> ModelFolder:
    """A hub model at a commit, whose files were fetched to `folder`."""
    ref = BaseRef(source="hub", name=name, revision=commit)
    info = ModelInfo(
        kind="full", base=ref, digest=value_digest([name, commit]), files={}, parameters=count_parameters(folder)
    )
    return ModelFolder(info, None)


def local_folder(name: str, root: Path, *, bare: bool = False, others: str = "") -> Path | None:
    """The folder that a model's name means, below `root` where it is relative; None: no folder, but what may be an id
    of the hub. `bare`: such an id may have no owner; `others`: what else a name may be, for the error.

    Raises:
        InputNotFoundError: the name can only be a folder's, and there is none; or the folder lies below the working
            folder, where no path in a config starts.
    """
    folder = root / name
    if folder.is_dir():
        return folder
    beside = Path(name).is_dir()
    if not beside and not looks_like_path(name, bare=bare):
        return None
    there = f", and {Path(name).resolve()} is another one" if beside else ""
    there += ", and ~ is no home there" if name.startswith("~") else ""
    raise InputNotFoundError(
        "no such model folder", where=str(folder),
        hint=f"relative paths in a config start from {root}{there}; name an existing folder, a hub id (owner/name)"
        f"{others}",
    )  # fmt: skip


def looks_like_path(name: str, *, bare: bool = False) -> bool:
    """Whether a name that is no folder here can't be a hub id (owner/name; `bare`: or a name alone) either."""
    return name.startswith((".", "/", "~")) or name.count("/") not in ((0, 1) if bare else (1,)) or "\\" in name
