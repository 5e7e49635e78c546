"""Files that a config names by URL. Imports no ZenML."""

from collections.abc import Sequence
from pathlib import Path
from typing import IO

import fsspec

from steps.contracts.digests import file_digest, short_id
from steps.contracts.errors import AssayError, ConfigError, InputNotFoundError, IntegrityError, ServiceError
from steps.contracts.pinned import unpinned
from steps.contracts.storage import aside
from steps.zenml_runtime.state import state_folder

_PIECE_BYTES = 4 << 20


def is_url(name: str) -> bool:
    """Whether a config names something by URL."""
    return "://" in name


def downloaded(url: str) -> Path:
    """The bytes that are there now, in a file of this machine. Of a URL with a SHA-256 those bytes, which are asked for
    only where they aren't here already.

    Raises:
        InputNotFoundError: there is nothing. ServiceError: it can't be read. IntegrityError: the bytes are others than
            its SHA-256 says. ConfigError: that is none.
    """
    path = state_folder() / "cache" / "inputs" / "urls" / short_id(url)
    try:
        address, sha256 = unpinned(url)
    except ValueError as e:
        raise ConfigError(str(e), where=url) from e
    if sha256 is not None and path.is_file() and file_digest(path) == sha256:
        return path
    try:
        with fsspec.open(address, "rb") as source, aside(path) as partial:
            with partial.open("wb") as target:
                copy(source, target)
            if sha256 is not None and (found := file_digest(partial)) != sha256:
                hint = "if the new bytes are meant, name their SHA-256"
                raise IntegrityError(f"what is there has SHA-256 {found}, not {sha256}", where=address, hint=hint)
    except AssayError:
        raise
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
