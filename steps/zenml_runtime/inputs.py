"""Files that a config names, where a step's process can read them.

On this machine they are read in place. A step elsewhere has no checkout, so the launcher brings them to the artifact
store by content, and the first step does so with what the config names by URL: every later step reads the same bytes.
In a folder made for one stage they lie under the config's own names, so that no stage knows where they came from:
`folder / "s3://bucket/words.txt"` is a path as any other.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from zenml.client import Client

from steps.contracts.digests import file_digest, value_digest
from steps.contracts.errors import ConfigError, InputNotFoundError, IntegrityError
from steps.zenml_runtime.state import state_folder
from steps.zenml_runtime.urls import copy, downloaded, inside, is_url, link, write_from

# What a name of the config stands for: SHA-256 by path below it ("": it is a file itself); empty where it is read in
# place.
Brought: TypeAlias = Mapping[str, str]
# The entry of what the first step noted: by stage, what it was brought by the config's names.
INPUTS = "inputs"


def laid_out(brought: Mapping[str, Brought], root: Path) -> Path:
    """A folder of this machine with all of them under the config's names; what is read in place lies below `root`.

    Raises:
        ConfigError: a name leads out of such a folder.
        InputNotFoundError: the artifact store doesn't have one any more. IntegrityError: its bytes are others.
    """
    named = {name: dict(parts) for name, parts in brought.items()}
    folder = state_folder() / "cache" / "inputs" / value_digest([str(root), named])
    for name, parts in brought.items():
        inside(name, root)
        if not parts:
            link(folder / name, root / name)
        for part, sha256 in parts.items():
            _fetch(sha256, folder / name / part)
    return folder


def bring(name: str, root: Path) -> dict[str, str]:
    """Put a file, all files of a folder, or what a URL names, into the artifact store by content.

    Raises:
        ConfigError: the name leads out of the folder that paths in a config start from: it can't lie there elsewhere.
        InputNotFoundError: there is no such file or folder. ServiceError: the URL can't be read.
    """
    if ".." in Path(name).parts or Path(name).is_absolute():
        hint = f"name it by a path below {root}, or by a URL"
        raise ConfigError("this file can't travel to the stack's machines under its name", where=name, hint=hint)
    if is_url(name):
        return {"": _keep(downloaded(name))}
    path = root / name
    if path.is_dir():
        return bring_files(sorted(f for f in path.rglob("*") if f.is_file()), path)
    if not path.is_file():
        raise InputNotFoundError("no such file", where=name, hint=f"paths in a config start from {root}")
    return {"": _keep(path)}


def bring_files(files: Iterable[Path], folder: Path) -> dict[str, str]:
    """Put files that lie below a folder into the artifact store by content."""
    return {f.relative_to(folder).as_posix(): _keep(f) for f in files}


def _uri(sha256: str) -> str:
    return f"{Client().active_stack.artifact_store.path.rstrip('/')}/inputs/{sha256}"


def _keep(path: Path) -> str:
    """Store a file under its digest, unless it is there; returns the digest."""
    store: Any = Client().active_stack.artifact_store
    sha256 = file_digest(path)
    uri = _uri(sha256)
    if not store.exists(uri):
        _put(path, uri, store)
    return sha256


def _put(path: Path, uri: str, store: Any) -> None:
    """Whole or not at all: of what is there nobody looks whether it was written to its end."""
    with path.open("rb") as source:
        if not is_url(uri):
            write_from(source, Path(uri))
            return
        store.makedirs(uri.rsplit("/", 1)[0])
        with store.open(uri, "wb") as target:
            copy(source, target)


def _fetch(sha256: str, path: Path) -> None:
    if path.is_file() and file_digest(path) == sha256:
        return
    uri = _uri(sha256)
    try:
        with Client().active_stack.artifact_store.open(uri, "rb") as source:
            write_from(source, path)
    except FileNotFoundError as e:
        raise InputNotFoundError(
            "an input is gone from the artifact store", where=uri, hint="start the run anew"
        ) from e
    if (found := file_digest(path)) != sha256:
        path.unlink()
        raise IntegrityError(f"stored bytes have SHA-256 {found}", where=uri, hint="remove it and start the run anew")
