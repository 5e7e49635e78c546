"""References to models that others made: a local folder by the digest of its files, a hub model by its commit."""

from pathlib import Path

from steps.contracts.digests import value_digest
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


def looks_like_path(name: str) -> bool:
    """Whether a name that is no folder here can't be a hub id (owner/name) either."""
    return name.startswith((".", "/", "~")) or name.count("/") != 1 or "\\" in name
