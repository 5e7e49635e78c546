"""Top-level JSON values of a stream, cut out one by one without holding the file.

Reads an array of values, or values that follow each other. A broken value is cut out like any other, by its quotes and
brackets; where these don't fit, it takes in what follows. Whoever finds a value in it that is whole can have the
stream read again from there.
"""

import io
import json
import re
from dataclasses import dataclass
from typing import Any

_BLOCK = 1 << 18
_IN_STRING = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_NESTED = re.compile(rb'["\[\]{}]')
_TOP = re.compile(rb'["\[\]{},]')
# With the bytes of a mark, as files have it that were put together.
_BLANK = b" \t\r\n\xef\xbb\xbf"
# An object that may begin a row: behind a comma, a bracket, or at the start of a line.
_OBJECT = re.compile(r"(?:[,\[\]}]\s*|\n\s*)\{")
_BEHIND = re.compile(r"\s*(?:[,\]]|$)")
_NEXT = re.compile(r"\s*,\s*(?=\{)")
# The end of a list that isn't the end of everything.
_LISTED = re.compile(r"\s*\]\s*[,\]}]")
_FIRST_KEY = re.compile(r'\{\s*"([^"\\]*)"\s*:')
_DECODE = json.JSONDecoder(strict=False).raw_decode
# Chosen: far more than the objects in one row.
_TRIED = 10_000
# Chosen: far deeper than rows are; what is deeper is broken, and takes a step of the scanner for each of its bytes.
_DEEPEST = 100_000
# Bytes that may be read once more per byte of the stream, and at least.
_AGAIN, _LEAST = 4, 1 << 16


@dataclass(frozen=True)
class Value:
    """One value: its number from 1, the line it starts on, its bytes, and `problem` when it isn't whole.

    problem: "too_long" (raw is its start), "cut_off" (the stream ended inside it or its array), "after_end" (it
    stands behind the array's end: no more than its start), "too_deep" (raw is its start; nothing behind it is
    read), None. skipped: bytes of it that aren't in `raw`.
    """

    number: int
    line: int
    raw: bytes
    problem: str | None = None
    skipped: int = 0


class JsonValues:
    """Values of a JSON array, or of JSON values in a row; `limit` is the longest value in bytes.

    line: the stream begins in this line of its file. within: what stands behind the array's end isn't looked at.
    """

    def __init__(self, stream: io.BufferedReader, limit: int, line: int = 1, *, within: bool = False) -> None:
        self._stream, self._limit, self._within = stream, limit, within
        self._budget = 2 * limit
        self._line, first = line, stream.read(1)
        while first and first in _BLANK:
            self._line += first == b"\n"
            first = stream.read(1)
        self._base = 1 if first == b"[" else 0
        self._block = b"" if self._base else first
        self._number = 0
        self._ended = False
        self._begin()

    def _begin(self) -> None:
        """Nothing of a value has been seen."""
        self._depth, self._in_string, self._closed, self._skipping = self._base, False, False, False
        # What ended the value that came last, without being part of it.
        self._mark = b""
        self._parts: list[bytes] = []
        self._size = self._start = self._at = 0

    def __iter__(self) -> "JsonValues":
        return self

    def __next__(self) -> Value:
        while not self._ended:
            value = self._behind_the_end() if self._closed else self._scanned()
            if value is not None:
                return value
            if not self._closed and not self._more():
                self._ended = True
                if (value := self._last()) is not None:
                    return value
        raise StopIteration

    def read_again(self, value: Value, start: int) -> None:
        """Go on at this byte of the value that came last, where another one begins."""
        again = value.raw[start:]
        self._budget -= len(again)
        self._line = value.line + value.raw.count(b"\n", 0, start)
        self._block = again + self._mark + self._block[self._at :]
        self._ended = False
        self._begin()

    def _more(self) -> bool:
        """Whether there is another block; what is known of the value is kept."""
        block = self._stream.read(_BLOCK)
        self._budget += _AGAIN * len(block)
        self._keep(self._block[self._start : self._at])
        self._block = self._block[self._at :] + block
        self._start = self._at = 0
        return bool(block)

    def _scanned(self) -> Value | None:
        """The next value that ends in this block, or is too long by now."""
        block = self._block
        while self._at < len(block) and not self._closed:
            if self._in_string:
                if not self._through_string():
                    break
                continue
            found = (_TOP if self._depth == self._base else _NESTED).search(block, self._at)
            if found is None:
                self._at = len(block)
                break
            self._at = found.end()
            end = self._step(found.group())
            if self._depth > _DEEPEST:
                return self._too_deep()
            if end is not None:
                self._mark = b"" if end else found.group()
                value = self._cut(block[self._start : self._at if end else self._at - 1])
                self._start = self._at
                if value is not None:
                    return value
        most = min(self._limit, max(_LEAST, self._budget))
        if not self._closed and not self._skipping and self._size + self._at - self._start > most:
            self._keep(block[self._start : self._at])
            self._start = self._at
            self._skipping, self._mark = True, b""
            self._number += 1
            return Value(self._number, self._line, b"".join(self._parts), "too_long")
        return None

    def _too_deep(self) -> Value:
        self._ended, self._mark = True, b""
        raw = b"".join(self._parts)[:_LEAST] or self._block[self._start : self._at][:_LEAST]
        self._number += 1
        return Value(self._number, self._line, raw, "too_deep", self._size + len(self._block) - self._start)

    def _through_string(self) -> bool:
        """Whether the string ends in this block."""
        found = _IN_STRING.match(self._block, self._at)
        self._at = found.end() if found else self._at
        if self._block[self._at : self._at + 1] == b'"':
            self._in_string = False
            self._at += 1
            return True
        return False  # nothing is left, or a backslash whose partner is in the next block

    def _step(self, mark: bytes) -> bool | None:
        """None: the value goes on. True: it ends with this mark. False: it ended before this mark."""
        if mark == b'"':
            self._in_string = True
        elif mark in b"[{":
            self._depth += 1
        elif mark == b",":
            return False
        else:
            self._depth -= 1
            if self._depth < self._base:
                self._depth, self._closed = self._base, self._base == 1
                return False
            if self._depth == self._base == 0:
                return True
        return None

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if not self._skipping:
            self._parts.append(piece)

    def _cut(self, piece: bytes, problem: str | None = None) -> Value | None:
        """The value that ends with this piece; None where there is nothing but blanks."""
        skipped = self._skipping
        lines = piece.count(b"\n") if skipped else 0
        self._keep(piece)
        whole = b"".join(self._parts)
        raw = whole.strip(_BLANK)
        line = self._line + whole[: len(whole) - len(whole.lstrip(_BLANK))].count(b"\n")
        self._line += whole.count(b"\n") + lines
        too_long = self._size > self._limit
        self._parts, self._size, self._skipping = [], 0, False
        if skipped or not (raw or problem):
            return None
        self._number += 1
        return Value(self._number, line, raw, "too_long" if too_long else problem)

    def _last(self) -> Value | None:
        """What is left when the stream ends."""
        self._mark = b""
        whole = self._base == 0 and self._depth == 0 and not self._in_string
        if self._skipping and not whole:
            # More than the one that was too long is lost.
            self._number += 1
            return Value(self._number, self._line, b"", "cut_off", self._size + len(self._block) - self._start)
        return self._cut(self._block[self._start :], None if whole else "cut_off")

    def _behind_the_end(self) -> Value | None:
        """What stands behind the end of an array: one value, which can't be read."""
        self._ended, self._mark = True, b""
        if self._within:
            return None
        rest = (self._block[self._at :] + self._stream.read(_BLOCK)).rstrip(_BLANK)
        self._block = b""
        lead = len(rest) - len(rest.lstrip(_BLANK))
        line, rest = self._line + rest.count(b"\n", 0, lead), rest[lead:]
        if not rest:
            return None
        self._number += 1
        return Value(self._number, line, rest, "after_end")

    def skip_rest(self) -> int:
        """Give up what has not been read; its bytes."""
        size = 0
        while block := self._stream.read(_BLOCK):
            size += len(block)
        return size


def next_object(raw: bytes, like: frozenset[str], *, ended: bool = False) -> int | None:
    """Where in a broken value (not at its start) the next whole object begins that is no part of it.

    It has about the keys `like`, unless that is empty. Objects in a list that something follows are parts of the value.
    ended: more follows the value; then an object that begins with one of the keys may go on behind it.
    """
    text = raw.decode("utf-8", "surrogateescape")
    start, goes_on = 0, None
    for _ in range(_TRIED):
        found = _OBJECT.search(text, start)
        if found is None:
            break
        start = found.end() - 1
        value, end = _decoded(text, start)
        if value is None and start and goes_on is None and ended and _goes_on(text, start, like):
            goes_on = start
        if value is None or not start or not _BEHIND.match(text, end):
            continue
        last = _last_of_list(text, end)
        if _LISTED.match(text, last):
            start = last
        elif 2 * len(like & value.keys()) >= len(like | value.keys()) or not like:
            return len(text[:start].encode("utf-8", "surrogateescape"))
    return None if goes_on is None else len(text[:goes_on].encode("utf-8", "surrogateescape"))


def _goes_on(text: str, start: int, like: frozenset[str]) -> bool:
    """Whether an object that begins here with one of these keys is cut off by the text's end."""
    key = _FIRST_KEY.match(text, start)
    if key is None or key[1] not in like:
        return False
    try:
        _DECODE(text, start)
    except json.JSONDecodeError as e:
        return e.pos >= len(text.rstrip()) or e.msg.startswith("Unterminated")
    except (ValueError, RecursionError):
        return False
    return False


def _last_of_list(text: str, end: int) -> int:
    """Where the last of the objects ends that follow one another from the one that ends here."""
    for _ in range(_TRIED):
        comma = _NEXT.match(text, end)
        value, following = _decoded(text, comma.end()) if comma else (None, end)
        if value is None:
            break
        end = following
    return end


def _decoded(text: str, start: int) -> tuple[dict[str, Any] | None, int]:
    """The object that begins here, and where it ends; None where there is no whole one."""
    try:
        value, end = _DECODE(text, start)
    except (ValueError, RecursionError):
        return None, start
    return (value, end) if isinstance(value, dict) else (None, start)
