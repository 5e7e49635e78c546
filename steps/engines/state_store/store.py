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
# A store that takes connections and says nothing is given up after so many seconds, at each of few attempts: S3 after
# 4 * 15 s. s3fs' own 5 * 5 attempts take some minutes.
_SILENT_SECONDS = 15
_ATTEMPTS = 2


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

            protocol = self.uri.partition("://")[0]
            fs, path = url_to_fs(self.uri, **_client_options(protocol))
            if protocol in ("s3", "s3a"):
                _limit_s3(fs)
            self._opened = fs, str(path).rstrip("/")
        return self._opened


def _client_options(protocol: str) -> dict[str, Any]:
    """What fsspec's client of a store is told about one that doesn't answer. How often GCS and Azure are asked again
    is fixed in their clients: some minutes.
    """
    if protocol in ("s3", "s3a"):
        timeouts = {"connect_timeout": _SILENT_SECONDS, "read_timeout": _SILENT_SECONDS}
        return {"config_kwargs": {**timeouts, "retries": {"total_max_attempts": _ATTEMPTS, "mode": "standard"}}}
    if protocol in ("gs", "gcs"):
        from aiohttp import ClientTimeout

        silent = ClientTimeout(total=None, sock_connect=_SILENT_SECONDS, sock_read=_SILENT_SECONDS)
        return {"session_kwargs": {"timeout": silent}}
    if protocol in ("az", "abfs", "abfss"):
        return {"connection_timeout": _SILENT_SECONDS, "read_timeout": _SILENT_SECONDS}
    return {}


def _limit_s3(fs: Any) -> None:
    """s3fs asks again what its client has asked `_ATTEMPTS` times. And no file may wait for the server's word before
    it is sent ("Expect: 100-continue"): no timeout of the client holds for this.
    """
    from botocore.handlers import add_expect_header

    fs.retries = _ATTEMPTS
    fs.s3.meta.events.unregister("before-call.s3", add_expect_header)


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
