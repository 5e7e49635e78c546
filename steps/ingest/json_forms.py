"""In which form a JSON text holds its rows: lines, an array, values, one object around a list, columns."""

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from steps.contracts.records import Row

Form = Literal["lines", "array", "values"]

_BLOCK = 1 << 18
_HEAD_LINES = 50
_BLANK = b" \t\r\n\xef\xbb\xbf"
_IN_STRING = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_MARK = re.compile(rb'["\[\]{}]')
_TOP = re.compile(rb'["\[\]{}:,]')


def form(head: bytes, *, lines_named: bool = False) -> Form:
    """The form that the start of a text has. "values": objects over several lines, or no more than one line.

    lines_named: the file calls itself JSON Lines.
    """
    lines = [line for line in head.split(b"\n") if line.strip(_BLANK)]
    if not lines:
        return "lines"
    first = lines[0].strip(_BLANK)
    if first[:1] == b"[":
        whole = lines_named and len(lines) > 1 and _value(first) is not None
        return "lines" if whole and lines[1].lstrip()[:1] in (b"[", b"{", b'"') else "array"
    if first[:1] != b"{":
        return "lines"
    if len(lines) == 1:
        return "values"
    return "lines" if any(isinstance(_value(line.strip(_BLANK)), dict) for line in _starts(lines)) else "values"


def _starts(lines: list[bytes]) -> list[bytes]:
    return [line for line in lines[:_HEAD_LINES] if line.lstrip(b"\xef\xbb\xbf")[:1] == b"{"]


def _value(text: bytes) -> Any:
    """The first value in a text; None where it is broken."""
    try:
        return json.JSONDecoder(strict=False).raw_decode(text.decode("utf-8", "surrogateescape"))[0]
    except (ValueError, RecursionError):
        return None


@dataclass
class TopLevel:
    """The first object of a text: its keys, those with a list of objects (and where each list begins: byte, line).

    whole: it ends. alone: nothing stands behind it. size: its bytes, up to its end or the text's.
    """

    keys: list[str] = field(default_factory=list)
    lists: dict[str, tuple[int, int]] = field(default_factory=dict)
    whole: bool = False
    alone: bool = False
    size: int = 0


class _Scan:
    """One pass over the first object of a stream, without holding it."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream
        self._block, self._at, self._base, self._line = b"", 0, 0, 1
        self.top = TopLevel()

    def run(self) -> TopLevel:
        depth, key, behind_key = 0, "", False
        for mark, offset, line in self._marks():
            if mark == b'"':
                text = self._string(keep=depth == 1 and not behind_key)
                if text is None:
                    break
                if depth == 1 and not behind_key:
                    key = text
            elif mark in (b"{", b"["):
                if depth == 1 and mark == b"[" and behind_key and self._next_byte() == b"{":
                    self.top.lists.setdefault(key, (offset, line))
                depth += 1
            elif mark in (b"}", b"]"):
                depth -= 1
                if depth <= 0:
                    self.top.whole = True
                    break
            elif depth == 1:
                behind_key = mark == b":"
                if behind_key:
                    self.top.keys.append(key)
        self.top.size = self._base + self._at
        self.top.alone = self.top.whole and self._next_byte() == b""
        return self.top

    def _marks(self) -> Iterator[tuple[bytes, int, int]]:
        while True:
            found = _TOP.search(self._block, self._at)
            if found is not None:
                self._pass_to(found.end())
                yield found.group(), self._base + found.start(), self._line
            elif not self._more():
                return

    def _pass_to(self, end: int) -> None:
        self._line += self._block.count(b"\n", self._at, end)
        self._at = end

    def _more(self) -> bool:
        self._pass_to(len(self._block))
        self._base += len(self._block)
        self._block, self._at = self._stream.read(_BLOCK), 0
        return bool(self._block)

    def _string(self, *, keep: bool) -> str | None:
        """Past the string that begins here; its text if it is kept; None where it never ends."""
        parts: list[bytes] = []
        while True:
            found = _IN_STRING.match(self._block, self._at)
            end = found.end() if found else self._at
            if keep and len(parts) < 2:
                parts.append(self._block[self._at : end])
            self._pass_to(end)
            rest = self._block[end : end + 2]
            if rest[:1] == b'"':
                self._at += 1
                return b"".join(parts).decode("utf-8", "replace")
            # A backslash at the end of a block escapes the first byte of the next one.
            if not self._more():
                return None
            if rest[:1] == b"\\":
                self._pass_to(1)

    def _next_byte(self) -> bytes:
        """The first byte from here on that isn't blank; b"" at the end. What was looked at is read again."""
        while True:
            rest = self._block[self._at :]
            stripped = rest.lstrip(_BLANK)
            if stripped:
                self._pass_to(len(self._block) - len(stripped))
                return stripped[:1]
            if not self._more():
                return b""


def top_level(stream: io.BufferedReader) -> TopLevel:
    """What the first object of a stream has at its top. The stream is read to the object's end, or to its own."""
    return _Scan(stream).run()


def rows_in_columns(value: Row, *, sure: bool = False) -> list[Row] | None:
    """The rows of an object that holds columns, as lists or as objects with the same keys; None if it doesn't.

    sure: it isn't a row itself; otherwise lists with objects in them, such as messages, are no columns.
    """
    columns = list(value.values())
    if not columns:
        return None
    if all(isinstance(c, list) for c in columns):
        lengths = {len(c) for c in columns}
        objects = [any(isinstance(v, dict) for v in c) for c in columns]
        plain = not any(objects) or (sure and not all(objects))
        if len(lengths) == 1 and lengths != {0} and plain:
            return [dict(zip(value, cells, strict=True)) for cells in zip(*columns, strict=True)]
        return _split_frame(value)
    if all(isinstance(c, dict) and c and c.keys() == columns[0].keys() for c in columns):
        names = list(columns[0])
        if all(name.isdecimal() for name in names):
            return [{key: value[key][name] for key in value} for name in names]
        return columns if all(key.isdecimal() for key in value) else None
    return _split_frame(value)


def _split_frame(value: Row) -> list[Row] | None:
    """The rows of what pandas writes with `orient="split"`: names of columns, and lists of cells."""
    names, rows = value.get("columns"), value.get("data")
    if not isinstance(names, list) or not isinstance(rows, list) or not value.keys() <= {"columns", "data", "index"}:
        return None
    if not all(isinstance(row, list) and len(row) == len(names) for row in rows):
        return None
    return [dict(zip(map(str, names), row, strict=True)) for row in rows]
