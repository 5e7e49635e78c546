"""Files of a log and their lines, however they were rotated, packed, or cut off while somebody writes."""

import glob
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from steps.contracts.errors import InputError, InputNotFoundError
from steps.contracts.tombstones import INPUT

_GZIP = b"\x1f\x8b"
_PIECE = 1 << 20
# Chosen: a packed file may become so many times as large, and a few MiB are free; logs pack about tenfold.
_MOST_UNPACKED, _FREE = 200, 8 << 20

UNFINISHED, TOO_LONG, DAMAGED, EXPANDS = "unfinished", "too_long", "damaged_file", "unpacks_too_far"


@dataclass(frozen=True)
class LogFile:
    """A file as it was when the run began. `name`: below the root, or as it was given; `bytes`: of it that count."""

    name: str
    path: Path
    bytes: int


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
    """The files that these paths name, each once, by name.

    Raises:
        InputNotFoundError: a path names no file. InputError: one may not be read.
    """
    found: dict[Path, LogFile] = {}
    for path in paths:
        files = _matching(path, root)
        if not files:
            hint = f"paths start from {root}; assay serve MODEL --log FILE writes one"
            raise InputNotFoundError("no log here", where=path, hint=hint)
        for file in files:
            name = file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)
            found.setdefault(file.resolve(), LogFile(name, file, file.stat().st_size))
    return sorted(found.values(), key=lambda f: f.name)


def _matching(path: str, root: Path) -> list[Path]:
    full = root / Path(path).expanduser()
    if full.is_dir():
        return sorted(f for f in full.glob("*.jsonl*") if f.is_file())
    if full.is_file():
        return [full]
    return sorted(f for f in map(Path, glob.glob(str(full), recursive=True)) if f.is_file())  # noqa: PTH207


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
    found = [LogFile(f.name, f.path, known[f.name]) for f in files if f.name in known]
    if missing := sorted(known.keys() - {f.name for f in found}):
        raise _moved(missing[0])
    return found


class _Counted(io.RawIOBase):
    """The first bytes of a file, digested as they are read."""

    def __init__(self, path: Path, most: int) -> None:
        self._file, self._left = path.open("rb", buffering=0), most
        self._hash, self.bytes = hashlib.sha256(), 0

    @property
    def digest(self) -> str:
        """SHA-256 of what was read."""
        return self._hash.hexdigest()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        piece = self._file.read(min(len(buffer), self._left)) or b""
        self._left -= len(piece)
        self.bytes += len(piece)
        self._hash.update(piece)
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._file.close()
        super().close()


def _opened(file: LogFile) -> _Counted:
    try:
        return _Counted(file.path, file.bytes)
    except FileNotFoundError as e:
        raise _moved(file.name) from e
    except PermissionError as e:
        raise InputError("may not be read", where=file.name, hint="change its permissions") from e


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
