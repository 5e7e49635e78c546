"""Bytes of one file: unpacked, in UTF-8, in lines that can't fill the memory."""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

import zstandard

from steps.contracts.errors import InputError

_BLOCK = 1 << 20
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_UTF8 = ("utf-8", "utf-8-sig", "ascii")
PACKED = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}


@contextmanager
def unpacking(where: str) -> Iterator[None]:
    """Turn a damaged or cut-off archive into an InputError that names it."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as e:
        raise InputError(
            f"the packed file is damaged or cut off ({e})", where=where, hint="copy or download it again"
        ) from e


def unpack(raw: IO[bytes], packing: str | None) -> io.BufferedReader:
    """The unpacked bytes of an open file; `packing` is "gzip", "zstd" or None."""
    stream: IO[bytes] = raw
    if packing == "gzip":
        stream = cast("IO[bytes]", gzip.GzipFile(fileobj=raw))
    elif packing == "zstd":
        reader = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        stream = cast("IO[bytes]", reader)
    return io.BufferedReader(cast("io.RawIOBase", stream), _BLOCK)


def as_utf8(stream: io.BufferedReader, encoding: str | None) -> io.BufferedReader:
    """The same text in UTF-8 without a byte order mark. Invalid bytes of 8-bit encodings and UTF-8 stay as they are.

    In UTF-16 and UTF-32 an invalid unit becomes U+FFFD.
    """
    head = stream.peek(4)[:4]
    mark, marked = next(((m, e) for m, e in _BOMS if head.startswith(m)), (b"", None))
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


class LineTooLong(InputError):
    """A line is longer than allowed; it was skipped, and reading goes on behind it. `head` is its start."""

    def __init__(self, line: int, size: int, head: bytes, limit: int) -> None:
        self.line, self.size, self.head = line, size, head
        super().__init__(f"line {line} has {size:,} bytes, more than max_line_bytes ({limit:,})")


class Lines:
    """Lines of a stream as (number from 1, bytes without the line end).

    An iterator, not a generator: after a LineTooLong the next line follows.
    """

    def __init__(self, stream: io.BufferedReader, limit: int) -> None:
        self.number = 0
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

    def _skip(self, line: bytes) -> None:
        size, head = len(line), line[:2000]
        piece = line
        while not piece.endswith(b"\n") and (piece := self._stream.readline(_BLOCK)):
            size += len(piece)
        raise LineTooLong(self.number, size, head, self._limit)
