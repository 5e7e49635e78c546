"""Durable state under a URI: whole files, by name. What outlives the machine that wrote it lies here.

What holds where: a file appears whole or not at all everywhere (here it is renamed, an object store makes an object
when its last byte has come). `put_new` is decided by the store on this machine, in S3 and in whatever of fsspec's
file systems knows a mode for it; elsewhere two writers at the same moment both believe to be first. Therefore nothing
here is rewritten: names are digests of content or written by one process, and what counts is a marker, written last.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from steps.contracts.errors import InputNotFoundError, ServiceError, StorageError
from steps.contracts.storage import STATE, STATE_URI, aside, write_whole, writing

_PIECE_BYTES = 4 << 20


def store_of(path: Path) -> "StateStore | None":
    """The durable store behind a path of the state folder; None where that folder is itself the place that lasts."""
    uri, state = os.environ.get(STATE_URI), os.environ.get(STATE)
    if not uri or not state:
        return None
    folder, root = path.resolve(), Path(state).resolve()
    if not folder.is_relative_to(root):
        return None
    return StateStore(f"{uri.rstrip('/')}/{folder.relative_to(root).as_posix()}")


class StateStore:
    """The files below one URI: a folder of this machine, or any that fsspec reads and writes (s3://, gs://, az://).

    Every method raises ServiceError when a remote store doesn't answer or refuses, StorageError when this machine's
    disk does.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self._local = "://" not in self.uri
        self._opened: tuple[Any, str] | None = None

    def names(self) -> list[str]:
        """Names of the files below the URI, sorted; with "/" for those in folders."""
        if self._local:
            root = Path(self.uri)
            found = [p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()]
            return sorted(n for n in found if not n.rpartition("/")[2].startswith("."))
        with _answering(self.uri):
            fs, root_path = self._remote()
            fs.invalidate_cache()
            found = fs.find(root_path)
        return sorted(p.removeprefix(root_path).lstrip("/") for p in found)

    def get(self, name: str) -> bytes:
        """The bytes of a file.

        Raises:
            InputNotFoundError: there is none.
        """
        try:
            if self._local:
                return Path(self.uri, name).read_bytes()
            with _answering(self.uri, FileNotFoundError):
                fs, root_path = self._remote()
                return bytes(fs.cat_file(f"{root_path}/{name}"))
        except FileNotFoundError as e:
            raise InputNotFoundError("no such file in the durable state", where=f"{self.uri}/{name}") from e

    def fetch(self, name: str, path: Path) -> None:
        """Copy a file to this machine, whole.

        Raises:
            InputNotFoundError: there is none.
        """
        try:
            if self._local:
                _copy(Path(self.uri, name), path)
                return
            with _answering(self.uri, FileNotFoundError), aside(path) as partial:
                fs, root_path = self._remote()
                fs.get_file(f"{root_path}/{name}", str(partial))
        except FileNotFoundError as e:
            raise InputNotFoundError("no such file in the durable state", where=f"{self.uri}/{name}") from e

    def put(self, name: str, data: bytes | Path) -> None:
        """Store a file whole, in place of one that is there."""
        if self._local:
            target = Path(self.uri, name)
            _copy(data, target) if isinstance(data, Path) else write_whole(target, data)
            return
        with _answering(self.uri):
            fs, root_path = self._remote()
            if isinstance(data, Path):
                fs.put_file(str(data), f"{root_path}/{name}")
            else:
                fs.pipe_file(f"{root_path}/{name}", data)

    def put_new(self, name: str, data: bytes) -> bool:
        """Store a file unless one of that name is there. Returns whether it was stored."""
        if self._local:
            return _put_new(Path(self.uri, name), data)
        with _answering(self.uri):
            fs, root_path = self._remote()
            try:
                fs.pipe_file(f"{root_path}/{name}", data, mode="create")
            except FileExistsError:
                return False
            except OSError as e:
                if "PreconditionFailed" in str(e) or "ConditionalRequestConflict" in str(e):
                    return False
                raise
        return True

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        if self._local:
            Path(self.uri, name).unlink(missing_ok=True)
            return
        with suppress(FileNotFoundError), _answering(self.uri, FileNotFoundError):
            fs, root_path = self._remote()
            fs.rm_file(f"{root_path}/{name}")

    def _remote(self) -> tuple[Any, str]:
        if self._opened is None:
            from fsspec.core import url_to_fs

            fs, path = url_to_fs(self.uri)
            self._opened = fs, str(path).rstrip("/")
        return self._opened


def _put_new(path: Path, data: bytes) -> bool:
    """A hard link is made or refused by the system in one go."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    write_whole(new, data)
    with writing(path):
        try:
            os.link(new, path)
        except FileExistsError:
            return False
        finally:
            new.unlink(missing_ok=True)
    return True


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as reader, aside(target) as partial, partial.open("wb") as writer:
        shutil.copyfileobj(reader, writer, _PIECE_BYTES)
        writer.flush()
        os.fsync(writer.fileno())


@contextmanager
def _answering(uri: str, *passed_on: type[Exception]) -> Iterator[None]:
    """Turn what a remote store's client raises, but for what is `passed_on`, into a ServiceError that names it."""
    try:
        yield
    except Exception as e:
        if isinstance(e, (*passed_on, StorageError)):
            raise
        raise ServiceError(
            f"the durable state can't be reached: {type(e).__name__}: {str(e)[:200]}",
            where=uri,
            hint="check the address and the credentials of `state` in configs/infra; what is done so far is kept",
        ) from e
