"""Where a small model lies (hub, folder, installed package), and the digest that names its content."""

from importlib.resources import files
from pathlib import Path

from steps.contracts.digests import value_digest
from steps.contracts.errors import InputNotFoundError, MissingDependencyError, UnsafeSerializationError
from steps.engines.lm.folder import model_files
from steps.engines.lm.hub import download, resolve_revision
from steps.engines.lm.references import local_folder

_PACKAGE = "package:"


def model_digest(name: str, revision: str | None, root: Path) -> str:
    """Commit of a hub model, digest over the files of any other. `root`: where relative folders start.

    Raises:
        InputNotFoundError, MissingDependencyError, ServiceError: there is no such model, or it can't be looked up.
        UnsafeSerializationError: a part of the model has pickled weights only.
    """
    folder = _folder(name, root)
    if folder is None:
        return resolve_revision(name, revision)
    _refuse_pickles(folder, name)
    return value_digest(model_files(folder))


def _refuse_pickles(folder: Path, name: str) -> None:
    """Stop at weights that sentence-transformers would unpickle: those of a module without safetensors.

    (Of a hub model such files are not downloaded.)
    """
    for file in sorted(folder.rglob("pytorch_model*.bin")):
        if not any(file.parent.glob("*.safetensors")):
            raise UnsafeSerializationError(
                f"pickled weights without safetensors: {file.relative_to(folder).as_posix()}", where=name,
                hint="load the model where you trust it and save it with save_pretrained(..., safe_serialization=True)",
            )  # fmt: skip


def model_path(name: str, digest: str, root: Path) -> Path:
    """Folder with the model's files; a hub model is downloaded at the commit `digest` unless it is there."""
    folder = _folder(name, root)
    return download(name, digest) if folder is None else folder


def _folder(name: str, root: Path) -> Path | None:
    """The local folder that `name` means; None for a hub id."""
    if name.startswith(_PACKAGE):
        return _in_package(name)
    return local_folder(name, root, bare=True, others=f", or {_PACKAGE}IMPORT_NAME/FOLDER")


def _in_package(name: str) -> Path:
    package, _, inside = name.removeprefix(_PACKAGE).partition("/")
    try:
        folder = Path(str(files(package).joinpath(inside)))
    except (ModuleNotFoundError, TypeError, ValueError) as e:
        raise MissingDependencyError(
            f"the package {package!r} is not installed", where=name, hint=f"pip install {package.replace('_', '-')}"
        ) from e
    if not folder.is_dir():
        raise InputNotFoundError(f"the package {package!r} holds no folder {inside!r}", where=name)
    return folder
