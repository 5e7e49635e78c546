"""Files that a config names by URL. Imports no ZenML."""

from collections.abc import Sequence
from pathlib import Path
from typing import IO

import fsspec

from steps.contracts.digests import short_id
from steps.contracts.errors import ConfigError, InputNotFoundError, ServiceError
from steps.contracts.storage import aside
from steps.zenml_runtime.state import state_folder

_PIECE_BYTES = 4 << 20


def is_url(name: str) -> bool:
    """Whether a config names something by URL."""
    return "://" in name


def downloaded(url: str) -> Path:
    """The bytes that are there now, in a file of this machine.

    Raises:
        InputNotFoundError: there is nothing. ServiceError: it can't be read.
    """
    path = state_folder() / "cache" / "inputs" / "urls" / short_id(url)
    try:
        with fsspec.open(url, "rb") as source:
            write_from(source, path)
    except FileNotFoundError as e:
        raise InputNotFoundError("nothing there", where=url) from e
    except Exception as e:
        raise ServiceError(
            f"can't read from there: {type(e).__name__}: {e}",
            where=url,
            hint="check the network and the credentials in the environment",
        ) from e
    return path


def with_urls(names: Sequence[str], root: Path) -> Path:
    """`root`; where one of these names of a config is a URL, a folder in which all of them lie under their names.

    Raises:
        ConfigError: a name leads out of such a folder. InputNotFoundError, ServiceError: as `downloaded`.
    """
    if not any(is_url(name) for name in names):
        return root
    folder = state_folder() / "cache" / "inputs" / short_id(str(root), *names)
    for name in names:
        inside(name, root)
        source = downloaded(name) if is_url(name) else root / name
        if source.exists():
            link(folder / name, source)
    return folder


def inside(name: str, root: Path) -> None:
    """Refuse a name that would lead out of a folder in which it is put under that name."""
    if ".." in Path(name).parts:
        hint = f"name it by a path below {root}, or by a URL"
        raise ConfigError("beside a URL no name may lead out of the project", where=name, hint=hint)


def link(name: Path, target: Path) -> None:
    """Let `name` lead to `target`, unless it is it."""
    if name != target and not name.is_symlink():
        name.parent.mkdir(parents=True, exist_ok=True)
        name.symlink_to(target)


def write_from(source: IO[bytes], path: Path) -> None:
    """Write what can be read from `source`, whole or not at all."""
    with aside(path) as partial, partial.open("wb") as target:
        copy(source, target)


def copy(source: IO[bytes], target: IO[bytes]) -> None:
    """From one open file to another, piece by piece."""
    while piece := source.read(_PIECE_BYTES):
        target.write(piece)
