"""An artifact store as whoever looks for garbage sees it: all that lies there, with size and age, here or elsewhere."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec

from materializers.artifacts import is_remote, reachable, read_bytes
from steps.contracts.storage import writing

# What fsspec's file systems call the time of a file's last change.
_TIMES = ("mtime", "LastModified", "last_modified", "updated")


@dataclass(frozen=True)
class Entry:
    """A file, or (`bytes` 0) a folder without files, that lies below a store's root.

    Attributes:
        modified: seconds since 1970; of what doesn't say it now, so that it counts as new.
    """

    bytes: int
    modified: float


class Store:
    """A store by its root's URI: a folder of this machine, or whatever fsspec reads. Names are below the root.

    Every method raises ServiceError when a remote store can't be reached, and StorageError when this machine's disk
    refuses.
    """

    def __init__(self, uri: str) -> None:
        self.local = not is_remote(uri)
        self.uri = str(Path(uri.removeprefix("file://")).expanduser().resolve()) if self.local else uri.rstrip("/")

    def entries(self) -> dict[str, Entry]:
        """All that lies there, by name; of folders without files, the names end in "/"."""
        return dict(_local(self.uri) if self.local else self._remote())

    def name(self, uri: str, root: str = "") -> str | None:
        """Name of what is at a URI; None for what lies elsewhere. `root`: what the store was called when that was
        written, if it has moved since.
        """
        if self.local and not is_remote(uri):
            uri = str(Path(uri.removeprefix("file://")).resolve())
        for base in filter(None, (self.uri, root.removeprefix("file://").rstrip("/"))):
            if uri.startswith(f"{base}/"):
                return uri[len(base) + 1 :]
        return None

    def read(self, name: str) -> bytes | None:
        """A small file; None when it is gone."""
        return read_bytes(f"{self.uri}/{name}")

    def remove(self, name: str) -> bool:
        """Remove a file, or a folder with all that lies in it. False: it was gone already."""
        assert name.strip("/"), "a store as a whole is never removed"
        if not self.local:
            return self._remove_remote(name)
        path = Path(self.uri, name)
        there = path.exists()
        with writing(path):
            if path.is_dir():
                shutil.rmtree(path, onerror=_unless_gone)
            else:
                path.unlink(missing_ok=True)
        return there

    def _remote(self) -> Iterator[tuple[str, Entry]]:
        with reachable(self.uri):
            fs, root = fsspec.url_to_fs(self.uri)
            # What others have written meanwhile must be seen.
            fs.invalidate_cache()
            found = fs.find(root, detail=True)
        for path, said in found.items():
            yield path.removeprefix(f"{root.rstrip('/')}/"), Entry(int(said.get("size") or 0), _modified(said))

    def _remove_remote(self, name: str) -> bool:
        with reachable(f"{self.uri}/{name}"):
            fs, root = fsspec.url_to_fs(self.uri)
            fs.invalidate_cache()
            try:
                fs.rm(f"{root}/{name}", recursive=True)
            except FileNotFoundError:
                return False
        return True


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; of what goes meanwhile nothing."""
    if path.is_file():
        return path.stat().st_size
    return sum(entry.bytes for _, entry in _local(str(path)))


def newest_in(path: Path) -> float:
    """When a file, or anything in a folder, was changed last: seconds since 1970, 0 for what is gone."""
    times = [entry.modified for _, entry in _local(str(path))] if path.is_dir() else []
    try:
        return max([path.stat().st_mtime, *times])
    except FileNotFoundError:
        return 0.0


def _local(root: str) -> Iterator[tuple[str, Entry]]:
    """Files that are links aren't followed; they and what goes meanwhile have no size."""
    for folder, folders, files in os.walk(root):
        below = os.path.relpath(folder, root)
        start = "" if below == "." else f"{below}/"
        if start and not folders and not files:
            yield start, Entry(0, _stat(folder)[1])
        for name in files:
            yield start + name, Entry(*_stat(f"{folder}/{name}"))


def _stat(path: str) -> tuple[int, float]:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return 0, datetime.now(UTC).timestamp()
    return found.st_size, found.st_mtime


def _modified(said: dict[str, Any]) -> float:
    time = next((said[name] for name in _TIMES if said.get(name)), None)
    if isinstance(time, str):
        time = datetime.fromisoformat(time)
    if isinstance(time, datetime):
        return time.timestamp()
    return float(time) if time is not None else datetime.now(UTC).timestamp()


def _unless_gone(_call: object, _path: str, error: tuple[type[BaseException], BaseException, object]) -> None:
    """Another one who collects has been faster."""
    if not isinstance(error[1], FileNotFoundError):
        raise error[1]
