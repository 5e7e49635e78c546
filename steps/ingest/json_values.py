"""Top-level JSON values of a stream, cut out one by one without holding the file.

Reads an array of values, or values that follow each other. A broken value is cut out like any other, by its
quotes and brackets, so that what follows it is still read.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

_BLOCK = 1 << 18
_IN_STRING = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_NESTED = re.compile(rb'["\[\]{}]')
_TOP = re.compile(rb'["\[\]{},]')
_BLANK = b" \t\r\n"


@dataclass(frozen=True)
class Value:
    """One value: its number from 1, the line it starts on, its bytes, and `problem` when it isn't whole.

    problem: "too_long" (raw is its start), "cut_off" (the stream ended inside it or its array), "after_end" (it
    stands behind the array's end), None.
    """

    number: int
    line: int
    raw: bytes
    problem: str | None = None


class _Scanner:
    """Cuts values out of blocks of bytes. `base` is the depth that values stand at: 1 in an array, else 0."""

    def __init__(self, base: int, limit: int) -> None:
        self.base, self.limit = base, limit
        self.depth = base
        self.in_string = False
        self.closed = False
        self.parts: list[bytes] = []
        self.size = 0
        self.number = 0
        self.line = 1
        self.rest = b""
        self._tail = b""
        self._lines_seen = 0

    def feed(self, block: bytes) -> Iterator[Value]:
        """Values that end in this block."""
        block, self._tail = self._tail + block, b""
        start = at = 0
        while at < len(block) and not self.closed:
            if self.in_string:
                at = self._through_string(block, at)
                continue
            found = (_TOP if self.depth == self.base else _NESTED).search(block, at)
            if found is None:
                break
            at = found.end()
            end = self._step(found.group())
            if end is not None:
                yield from self._cut(block[start : at if end else at - 1])
                start = at
        if self.closed:
            self.rest = block[at:]
        else:
            self._keep(block[start : len(block) - len(self._tail)])

    def _through_string(self, block: bytes, at: int) -> int:
        found = _IN_STRING.match(block, at)
        at = found.end() if found else at
        if at < len(block) and block[at : at + 1] == b'"':
            self.in_string = False
            return at + 1
        self._tail = block[at:]  # nothing, or a backslash whose partner is in the next block
        return len(block)

    def _step(self, mark: bytes) -> bool | None:
        """None: the value goes on. True: it ends with this mark. False: it ended before this mark."""
        if mark == b'"':
            self.in_string = True
        elif mark in b"[{":
            self.depth += 1
        elif mark == b",":
            return False
        else:
            self.depth -= 1
            if self.depth < self.base:
                self.depth, self.closed = self.base, self.base == 1
                return False
            if self.depth == self.base == 0:
                return True
        return None

    def _keep(self, piece: bytes) -> None:
        self.size += len(piece)
        if self.size <= self.limit or not self.parts:
            self.parts.append(piece[: self.limit + 1])
        self.parts = self.parts if self.size <= self.limit else [self.parts[0][:2000]]
        self._lines_seen += piece.count(b"\n")

    def _cut(self, piece: bytes, problem: str | None = None) -> Iterator[Value]:
        self._keep(piece)
        whole = b"".join(self.parts)
        raw = whole.strip(_BLANK)
        lead = whole[: len(whole) - len(whole.lstrip(_BLANK))].count(b"\n")
        line, self.line = self.line + lead, self.line + self._lines_seen
        too_long = self.size > self.limit
        self.parts, self.size, self._lines_seen = [], 0, 0
        if raw or problem:
            self.number += 1
            yield Value(self.number, line, raw, "too_long" if too_long else problem)

    def finish(self) -> Iterator[Value]:
        """What is left when the stream ends."""
        whole = self.base == 0 and self.depth == 0 and not self.in_string
        yield from self._cut(self._tail, None if whole else "cut_off")

    def after(self, rest: bytes) -> Iterator[Value]:
        """What stands behind the end of an array: at most one value, for it can't be read."""
        if rest := rest.strip(_BLANK):
            yield Value(self.number + 1, self.line, rest[:2000], "after_end")


def json_values(stream: io.BufferedReader, limit: int) -> Iterator[Value]:
    """Values of a JSON array, or of JSON values in a row; `limit` is the longest value in bytes."""
    lines, first = 0, stream.read(1)
    while first and first in _BLANK:
        lines += first == b"\n"
        first = stream.read(1)
    scanner = _Scanner(1 if first == b"[" else 0, limit)
    scanner.line += lines
    if first != b"[":
        yield from scanner.feed(first)
    while not scanner.closed and (block := stream.read(_BLOCK)):
        yield from scanner.feed(block)
    yield from scanner.after(scanner.rest + stream.read(_BLOCK)) if scanner.closed else scanner.finish()
