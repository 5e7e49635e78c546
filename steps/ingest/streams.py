"""Bytes of one file: unpacked, in UTF-8, in lines that can't fill the memory."""

import bz2
import codecs
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, NamedTuple, cast

import zstandard

from steps.contracts.errors import AssayError, InputError

_BLOCK = 1 << 20
# Chosen: what a file of any size may unpack to. Above it the size as stored counts.
_FREE = 8 << 20
# Chosen: what a row counts for at least. It takes time however short it is; packed, an honest one takes some bytes.
ROW_BYTES = 512
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_UTF8 = ("utf-8", "utf-8-sig", "ascii")
_HEAD, _CR_HEAD = 1 << 12, 1 << 16
PACKED = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd", ".bz2": "bz2", ".xz": "xz", ".lzma": "xz", ".zip": "zip"}
# ASCII in two bytes, or in four, as text in an encoding without a mark begins.
_WIDE = (
    (re.compile(rb"(?:[\t\n\r -~]\0\0\0){2}"), "utf-32-le"),
    (re.compile(rb"(?:\0\0\0[\t\n\r -~]){2}"), "utf-32-be"),
    (re.compile(rb"(?:[\t\n\r -~]\0){2}"), "utf-16-le"),
    (re.compile(rb"(?:\0[\t\n\r -~]){2}"), "utf-16-be"),
)
_DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError, lzma.LZMAError, zipfile.BadZipFile)


class Bounds(NamedTuple):
    """What a file may be at most.

    row_bytes: bytes of a row. unpacked: bytes that come out of a file, in units of those stored; a few MiB are free.
    columns: columns of a table.
    """

    row_bytes: int = 32 << 20
    unpacked: int = 200
    columns: int = 4096

    def most_rows(self, stored: int) -> int:
        """Rows that a file of `stored` bytes may hold, if it is packed."""
        return self.unpacked_bytes(stored) // ROW_BYTES

    def unpacked_bytes(self, stored: int) -> int:
        """What a file of `stored` bytes may unpack to."""
        return _FREE + self.unpacked * stored


BOUNDS = Bounds()


@contextmanager
def unpacking(where: str) -> Iterator[None]:
    """Turn a damaged or cut-off archive into an InputError that names it."""
    try:
        yield
    except Expanded as e:
        raise Expanded(e.most, where) from e
    except _DAMAGED as e:
        raise _damaged(e, where) from e
    except OSError as e:
        # bz2's own have no number.
        if e.errno is not None or isinstance(e, AssayError):
            raise
        raise _damaged(e, where) from e


def _damaged(error: Exception, where: str) -> InputError:
    hint = "copy or download it again"
    return InputError(f"the packed file is damaged or cut off ({error})", where=where, hint=hint)


def unpack(raw: IO[bytes], packing: str | None, most: int | None = None) -> io.BufferedReader:
    """The unpacked bytes of an open file; `packing` is a value of PACKED or None. Of a zip file, its only member's.

    Reading raises Expanded behind `most` unpacked bytes.
    """
    if packing is None:
        return io.BufferedReader(cast("io.RawIOBase", raw), _BLOCK)
    stream = cast("io.RawIOBase", _unpacked(raw, packing))
    return io.BufferedReader(stream if most is None else _Counted(io.BufferedReader(stream, _BLOCK), most), _BLOCK)


def _unpacked(raw: IO[bytes], packing: str) -> IO[bytes]:
    if packing == "gzip":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=raw))
    if packing == "bz2":
        return cast("IO[bytes]", bz2.BZ2File(raw))
    if packing == "xz":
        return cast("IO[bytes]", lzma.LZMAFile(raw))
    if packing == "zip":
        return _only_member(raw)
    reader = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
    return cast("IO[bytes]", reader)


def _only_member(raw: IO[bytes]) -> IO[bytes]:
    archive = zipfile.ZipFile(raw)
    try:
        return archive.open(next(iter(members(archive))))
    except (NotImplementedError, RuntimeError) as e:
        # Encrypted, or packed by a method that Python lacks.
        raise InputError(f"the archive can't be unpacked: {e}", hint="unpack it first") from e


def members(archive: zipfile.ZipFile) -> list[str]:
    """The files in an archive, without what macOS adds."""
    names = [i.filename for i in archive.infolist() if not i.is_dir()]
    return [n for n in names if not n.startswith("__MACOSX/") and not n.endswith(".DS_Store")]


class Expanded(InputError):
    """More comes out of a file than `max_unpacked_ratio` allows."""

    def __init__(self, most: int, where: str | None = None) -> None:
        self.most = most
        super().__init__(
            f"unpacks to more than {most:,} bytes, far more than a file of its size holds; nothing of it is read",
            where=where,
            hint="if it is meant to, raise max_unpacked_ratio, or unpack it first",
        )


class _Counted(io.RawIOBase):
    """A stream that raises Expanded behind so many bytes."""

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self._stream, self._most, self._left = stream, most, most

    def readable(self) -> bool:
        return True

    def readinto(self, into: "memoryview | bytearray") -> int:  # type: ignore[override]
        block = self._stream.read1(len(into))  # type: ignore[attr-defined]
        into[: len(block)] = block
        count = len(block)
        self._left -= count
        if self._left < 0:
            raise Expanded(self._most)
        return count


def wide_encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark, where it is sure: ASCII at the start, and no NUL character in what follows."""
    found = next((name for pattern, name in _WIDE if pattern.match(head)), None)
    if found is None:
        return None
    text = head[: len(head) // 4 * 4].decode(found, "ignore")
    return None if "\0" in text else found


def as_utf8(stream: io.BufferedReader, encoding: str | None) -> io.BufferedReader:
    """The same text in UTF-8 without a byte order mark. Invalid bytes of 8-bit encodings and UTF-8 stay as they are.

    In UTF-16 and UTF-32 an invalid unit becomes U+FFFD.
    """
    head = stream.peek(_HEAD)[:_HEAD]
    mark, marked = next(((m, e) for m, e in _BOMS if head.startswith(m)), (b"", None))
    if encoding is None and not mark:
        encoding = wide_encoding(head)
    name = codecs.lookup(encoding or marked or "utf-8").name
    if mark and (encoding is None or name.startswith(("utf-8", "utf-16", "utf-32"))):
        stream.read(len(mark))
        name = marked or name
    if name in _UTF8:
        return stream
    return io.BufferedReader(_Transcoder(stream, name), _BLOCK)


class _Transcoder(io.RawIOBase):
    def __init__(self, stream: io.BufferedReader, encoding: str) -> None:
        self._stream = stream
        self._back = "replace" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
        self._decoder = codecs.getincrementaldecoder(encoding)(self._back)
        self._ready = memoryview(b"")
        self._end = False

    def readable(self) -> bool:
        return True

    def readinto(self, into: "memoryview | bytearray") -> int:  # type: ignore[override]
        while not self._ready and not self._end:
            block = self._stream.read(_BLOCK // 4)
            self._end = not block
            errors = "surrogateescape" if self._back == "surrogateescape" else "surrogatepass"
            self._ready = memoryview(self._decoder.decode(block, self._end).encode("utf-8", errors))
        count = min(len(into), len(self._ready))
        into[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count


class ReplacedBytes(io.RawIOBase):
    """A stream with one byte for another."""

    def __init__(self, stream: io.BufferedReader, old: bytes, new: bytes) -> None:
        self._stream, self._old, self._new = stream, old, new

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, into: "memoryview | bytearray") -> int:  # type: ignore[override]
        """Read as many bytes as fit."""
        block = self._stream.read1(len(into)).replace(self._old, self._new)
        into[: len(block)] = block
        return len(block)


# The first bytes of a text whose lines end by CR alone: none by LF, and in JSON Lines an object behind each CR.
_CR_ROWS = re.compile(rb"[}\],]\s*\r\s*[{\[]")


def with_newlines(stream: io.BufferedReader, container: str) -> io.BufferedReader:
    """The same lines, ended by LF where the first ones are ended by CR alone."""
    head = stream.peek(_CR_HEAD)[:_CR_HEAD]
    if b"\r" not in head or b"\n" in head or (container != "csv" and not _CR_ROWS.search(head)):
        return stream
    return io.BufferedReader(ReplacedBytes(stream, b"\r", b"\n"))


class Prefixed(io.RawIOBase):
    """A stream behind bytes that were read from it before."""

    def __init__(self, head: bytes, stream: io.BufferedReader) -> None:
        self._head, self._stream = memoryview(head), stream

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, into: "memoryview | bytearray") -> int:  # type: ignore[override]
        """Read as many bytes as fit."""
        if not self._head:
            return self._stream.readinto1(into)
        count = min(len(into), len(self._head))
        into[:count] = self._head[:count]
        self._head = self._head[count:]
        return count


class LineTooLong(InputError):
    """A line is longer than allowed; it was skipped, and reading goes on behind it. `head` is its start."""

    def __init__(self, line: int, size: int, head: bytes, limit: int) -> None:
        self.line, self.size, self.head = line, size, head
        super().__init__(f"line {line} has {size:,} bytes, more than max_line_bytes ({limit:,})")


class Lines:
    """Lines of a stream as (number, `first` of the first one, and bytes without the line end).

    An iterator, not a generator: after a LineTooLong the next line follows.
    """

    def __init__(self, stream: io.BufferedReader, limit: int, first: int = 1) -> None:
        self.number = first - 1
        self._stream = stream
        self._limit = limit

    def __iter__(self) -> "Lines":
        return self

    def __next__(self) -> tuple[int, bytes]:
        line = self._stream.readline(self._limit + 2)
        if not line:
            raise StopIteration
        self.number += 1
        text = line.rstrip(b"\r\n")
        if len(text) > self._limit:
            self._skip(line)
        return self.number, text

    def skip_blank(self, blank: bytes = b"\r\n") -> None:
        """Pass over lines of nothing but these bytes, block by block."""
        while (block := self._stream.peek(1)) and block[:1] in blank:
            end = block.rfind(b"\n", 0, len(block) - len(block.lstrip(blank))) + 1
            if not end:
                return
            self.number += block.count(b"\n", 0, end)
            self._stream.read(end)

    def _skip(self, line: bytes) -> None:
        size, head = len(line), line[:2000]
        piece = line
        while not piece.endswith(b"\n") and (piece := self._stream.readline(_BLOCK)):
            size += len(piece)
        raise LineTooLong(self.number, size, head, self._limit)
