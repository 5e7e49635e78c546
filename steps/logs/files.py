"""Files of a log and their lines, however they were rotated, packed, or cut off while somebody writes."""

import glob
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, cast

from steps.contracts.errors import AssayError, InputError, InputNotFoundError
from steps.contracts.pinned import is_url
from steps.contracts.tombstones import INPUT
from steps.engines.remote.reach import MAGIC, reached, shown, told

# The files of a folder.
_LOGS = "*.jsonl*"
_GZIP = b"\x1f\x8b"
_PIECE = 1 << 20
# Chosen: a packed file may become so many times as large, and a few MiB are free; logs pack about tenfold.
_MOST_UNPACKED, _FREE = 200, 8 << 20

UNFINISHED, TOO_LONG, DAMAGED, EXPANDS = "unfinished", "too_long", "damaged_file", "unpacks_too_far"


@dataclass(frozen=True)
class LogFile:
    """A file as it was when the run began. `name`: below the root, or as it was given, a URL without its query;
    `location`: its path, in the file system `fs`, None of which is this machine's; `bytes`: of it that count.
    """

    name: str
    location: str
    bytes: int
    fs: Any = None


@dataclass(frozen=True)
class LogLine:
    """One line that isn't blank. `number`: from 1; `fault`: why it can't be read as a whole; then `raw` is its
    beginning, or nothing. `ended`: whether a line end follows.
    """

    number: int
    raw: bytes
    fault: str = ""
    ended: bool = True


def find_files(paths: Sequence[str], root: Path) -> list[LogFile]:
    """The files that these paths and URLs name, each once, by name.

    Raises:
        InputNotFoundError: a path names no file. InputError: one may not be read. MissingDependencyError,
            ServiceError: a URL's kind isn't known here, or its store doesn't answer.
    """
    found: dict[str, LogFile] = {}
    for path in paths:
        files = _remote(path) if is_url(path) else _local(path, root)
        if not files:
            start = "a folder's are those named *.jsonl*" if is_url(path) else f"paths start from {root}"
            hint = f"{start}; assay serve MODEL --log FILE writes one"
            raise InputNotFoundError("no log here", where=shown(path), hint=hint)
        for file in files:
            found.setdefault(file.name if file.fs is not None else str(Path(file.location).resolve()), file)
    return sorted(found.values(), key=lambda f: f.name)


def _local(path: str, root: Path) -> list[LogFile]:
    found = []
    for file in _matching(path, root):
        name = file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)
        try:
            found.append(LogFile(name, str(file), file.stat().st_size))
        except FileNotFoundError as e:
            raise _moved(name) from e
    return found


def _matching(path: str, root: Path) -> list[Path]:
    full = root / Path(path).expanduser()
    if full.is_dir():
        return sorted(f for f in full.glob(_LOGS) if f.is_file())
    if full.is_file():
        return [full]
    return sorted(f for f in map(Path, glob.glob(str(full), recursive=True)) if f.is_file())  # noqa: PTH207


def _remote(url: str) -> list[LogFile]:
    """Likewise; read in place."""
    with reached(url) as (fs, path):
        if not any(c in path for c in MAGIC) and fs.isfile(path):
            found = [path]
        else:
            pattern = path if any(c in path for c in MAGIC) else f"{path.rstrip('/')}/{_LOGS}"
            found = [name for name, info in fs.glob(pattern, detail=True).items() if info["type"] == "file"]
        return [LogFile(shown(str(fs.unstrip_protocol(f))), f, _size(fs, f), fs) for f in sorted(found)]


def _size(fs: Any, location: str) -> int:
    """Bytes of a file; of one whose server doesn't say how many, by reading it."""
    size = fs.size(location)
    if size is not None:
        return int(size)
    with fs.open(location, "rb") as source:
        return sum(len(piece) for piece in iter(lambda: source.read(_PIECE), b""))


def file_digests(files: Sequence[LogFile]) -> dict[str, str]:
    """Length and SHA-256 of each, by name: a log that grows is read as far as it was digested."""
    found = {}
    for file in files:
        with _opened(file) as source:
            while source.read(_PIECE):
                pass
            found[file.name] = f"{source.bytes}:{source.digest}"
    return found


def as_digested(files: Sequence[LogFile], digests: Mapping[str, str] | None) -> list[LogFile]:
    """The files with the length that they had when they were digested.

    Raises:
        InputError: one wasn't there then.
    """
    if digests is None:
        return list(files)
    known = {name: int(said.partition(":")[0]) for name, said in digests.items() if name != INPUT}
    # What has appeared since is another run's to read.
    found = [replace(f, bytes=known[f.name]) for f in files if f.name in known]
    if missing := sorted(known.keys() - {f.name for f in found}):
        raise _moved(missing[0])
    return found


class _Counted(io.RawIOBase):
    """The first bytes of a file, digested as they are read."""

    def __init__(self, file: LogFile) -> None:
        self._file, self._left, self._name = _raw(file), file.bytes, file.name
        self._hash, self.bytes = hashlib.sha256(), 0

    @property
    def digest(self) -> str:
        """SHA-256 of what was read."""
        return self._hash.hexdigest()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        # Asked for nothing, some file systems give everything.
        piece = self._read(min(len(buffer), self._left)) if self._left else b""
        self._left -= len(piece)
        self.bytes += len(piece)
        self._hash.update(piece)
        buffer[: len(piece)] = piece
        return len(piece)

    def _read(self, most: int) -> bytes:
        try:
            with told(self._name):
                return self._file.read(most) or b""
        except AssayError as e:
            if type(e.__cause__).__name__ == "FileExpired":  # s3fs: the object that was opened has been replaced
                raise _moved(self._name) from e
            raise

    def close(self) -> None:
        self._file.close()
        super().close()


def _raw(file: LogFile) -> IO[bytes]:
    if file.fs is None:
        return Path(file.location).open("rb", buffering=0)
    return cast("IO[bytes]", file.fs.open(file.location, "rb"))


def _opened(file: LogFile) -> _Counted:
    try:
        with told(file.name):
            return _Counted(file)
    except InputNotFoundError as e:
        raise _moved(file.name) from e


def _moved(name: str) -> InputError:
    what = "the log was moved or cut off while it was read"
    return InputError(what, where=name, hint="run again; name rotated files as well, such as serve.jsonl*")


def lines_of(file: LogFile, longest: int, digest: str | None = None) -> Iterator[LogLine]:
    """The lines of a file, one at a time. `digest`: what `file_digests` said of it.

    Raises:
        InputError: its bytes are others than those that were digested.
    """
    with _opened(file) as source:
        head = io.BufferedReader(source, _PIECE)
        packed = head.peek(2)[:2] == _GZIP
        stream = gzip.GzipFile(fileobj=head) if packed else head
        yield from _lines(stream, longest, _FREE + _MOST_UNPACKED * file.bytes if packed else None)  # type: ignore[arg-type]
        while head.read(_PIECE):
            pass
        if digest is not None and digest != f"{source.bytes}:{source.digest}":
            raise _moved(file.name)


def _lines(stream: io.BufferedReader, longest: int, most: int | None) -> Iterator[LogLine]:
    number, read = 0, 0
    try:
        while raw := stream.readline(longest + 1):
            number += 1
            size, ended = len(raw), raw.endswith(b"\n")
            if not ended and size > longest:
                skipped, ended = _skip(stream)
                size, raw = size + skipped, raw[:longest]
                yield LogLine(number, raw, TOO_LONG, ended)
            elif raw.strip():
                yield LogLine(number, raw.strip(), ended=ended)
            read += size
            if most is not None and read > most:
                yield LogLine(number + 1, b"", EXPANDS)
                return
    except (EOFError, zlib.error, gzip.BadGzipFile):
        yield LogLine(number + 1, b"", DAMAGED)


def _skip(stream: io.BufferedReader) -> tuple[int, bool]:
    """Go to the end of the line: bytes, and whether it has one."""
    skipped = 0
    while piece := stream.readline(_PIECE):
        skipped += len(piece)
        if piece.endswith(b"\n"):
            return skipped, True
    return skipped, False
