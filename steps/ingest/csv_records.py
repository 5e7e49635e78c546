"""Records of a CSV file, as RFC 4180 has them, read on behind what is broken.

A quote that is opened and never closed takes everything behind it into one cell. Such a record is given up at its first
line, and reading goes on at the next line that has a record's cells. What quotes stand inside a quoted cell without
being doubled is read, as long as the lines that it takes haven't a record's cells.
"""

import csv
from codecs import BOM_UTF8
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from steps.ingest.streams import Lines, LineTooLong

# Chosen: longer cells of many lines are read while quotes are closed in time; a file in which they aren't is read again
# and again from each of its lines, which this bounds: bytes that may be read once more per byte of the file.
_AGAIN, _LEAST = 4, 1 << 16

# What csv.reader is told of a file: `delimiter` at least.
Dialect: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Record:
    """One record: the line it starts on (from 1) and its cells."""

    line: int
    cells: list[str]


@dataclass(frozen=True)
class Broken:
    """What is no record: `lines` lines from `line` on, the start of their text, and why."""

    line: int
    lines: int
    text: str
    reason: str
    hint: str


class _Open(Exception):
    """A quoted cell goes on for too long, or to the end of the file."""


class _Feed:
    """Lines for csv.reader. Those of the current record are kept, so that they can be read again."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._again: deque[tuple[int, str | LineTooLong]] = deque()
        self.taken: list[tuple[int, str]] = []
        self._size, self._budget = 0, _LEAST

    def __iter__(self) -> "_Feed":
        return self

    def __next__(self) -> str:
        number, line = self._again.popleft() if self._again else self._read()
        if isinstance(line, LineTooLong):
            if not self.taken:
                raise line
            self._again.appendleft((number, line))
            raise _Open
        if self.taken and self._size + len(line) > self._budget:
            self._again.appendleft((number, line))
            raise _Open
        self.taken.append((number, line))
        self._size += len(line)
        return line

    def _read(self) -> tuple[int, str | LineTooLong]:
        if not self.taken:
            self._lines.skip_blank()
        try:
            number, raw = next(self._lines)
        except LineTooLong as e:
            return e.line, e
        self._budget += _AGAIN * len(raw)
        # A mark stands behind the first line where files were put together.
        return number, raw.removeprefix(BOM_UTF8).decode("utf-8", "surrogateescape") + "\n"

    def begin(self) -> None:
        """The next line is the first of a record."""
        self.taken, self._size = [], 0

    def give_back(self, first: int) -> None:
        """Let the lines of this record from `first` on be read again."""
        again = self.taken[first:]
        self._budget = max(_LEAST, self._budget - sum(len(line) for _, line in again))
        self._again.extendleft(reversed(again))
        self.taken = self.taken[:first]


def records(lines: Lines, dialect: Dialect, columns: int) -> Iterator[Record | Broken | LineTooLong]:
    """The records behind the header, blank lines left out; `columns`: cells that a record has."""
    feed = _Feed(lines)
    reader = csv.reader(feed, strict=True, **dialect)
    while True:
        feed.begin()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except LineTooLong as e:
            yield e
        except (csv.Error, _Open):
            yield from _mended(feed, dialect, columns)
        else:
            if cells:
                yield Record(feed.taken[0][0], cells)
            continue
        reader = csv.reader(feed, strict=True, **dialect)


def _mended(feed: _Feed, dialect: Dialect, columns: int) -> Iterator[Record | Broken]:
    """What the lines of a record are whose quotes don't fit: a record all the same, or broken up to a sure start."""
    start = feed.taken[0][0]
    texts = [line for _, line in feed.taken]
    alone = [_begins_record(text, dialect, columns) for text in texts[1:]]
    cells = _lenient(texts, dialect)
    if cells is not None and len(cells) == columns and not any(alone):
        yield Record(start, cells)
        return
    sure = next((i for i, begins in enumerate(alone, 1) if begins), len(texts))
    feed.give_back(sure)
    # The first line may be a record for those who don't mind single quotes in a quoted cell.
    cells = _lenient(texts[:1], dialect)
    if cells is not None and len(cells) == columns and sure == 1:
        yield Record(start, cells)
        return
    hint = "a quote is opened in this line and never closed" if sure == 1 else f"a quote isn't closed in {sure} lines"
    yield Broken(start, sure, "".join(texts[:sure])[:2000], "broken_csv", hint)


def _begins_record(line: str, dialect: Dialect, columns: int) -> bool:
    """Whether a line has the cells of a record, the last of which may go on."""
    try:
        return len(next(csv.reader([line], **dialect))) == columns
    except csv.Error:
        return False


def _lenient(lines: Sequence[str], dialect: Dialect) -> list[str] | None:
    """The cells of lines that are one record, whatever stands behind a closing quote; None: a quote is still open."""
    try:
        # Python tells an open quote only when it is strict; a closed one is still closed with a cell behind it.
        found = list(csv.reader([*lines, "\n"], **dialect))
    except csv.Error:
        return None
    if len(found) != 2 or found[1]:
        return None
    said = _outer(lines, dialect["delimiter"]) if dialect.keys() == {"delimiter"} else []
    return said if len(said) == len(found[0]) else found[0]


def _outer(lines: Sequence[str], delimiter: str) -> list[str]:
    """The cells where only quotes at both ends of one are quotes, and any others are text."""
    text = "".join(lines).removesuffix("\n")
    out: list[str] = []
    at = 0
    while at <= len(text):
        stop = text.find(delimiter, at)
        stop = len(text) if stop < 0 else stop
        piece = text[at:stop] if text.startswith('"', at) else ""
        end = -1
        # Quotes that are all closed before the cell ends are part of its text.
        if piece and (piece.endswith('"') or piece.count('"') % 2):
            end = at
            while (end := text.find('"', end + 1)) >= 0 and text[end + 1 : end + 2] not in ("", delimiter):
                end += text.startswith('""', end)
        if end > at:
            out.append(text[at + 1 : end].replace('""', '"'))
            at = end + 2
        else:
            out.append(text[at:stop])
            at = stop + 1
    return out
