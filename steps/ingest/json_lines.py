"""Texts of JSON Lines: one object to a line as a rule, with what files of several tools have instead."""

import json
from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import NamedTuple

from steps.ingest.streams import Lines, LineTooLong

_DECODE = json.JSONDecoder(strict=False).raw_decode


class Text(NamedTuple):
    """What stands in one or several lines: the first one's number, the bytes, how many lines that aren't blank."""

    number: int
    raw: bytes
    lines: int = 1


def texts(lines: Lines, limit: int) -> Iterator[Text | LineTooLong]:
    """Each line as a text. One that is no JSON is put together with those behind it, up to the next that begins an
    object, and to `limit` bytes: an object may stand over several lines, or have a line end in its text.
    """
    reader = _Reader(lines)
    while (line := reader.next()) is not None:
        if isinstance(line, LineTooLong) or is_whole(line.raw):
            yield line
        else:
            yield _gathered(line, reader, limit)


class _Reader:
    """Lines that aren't blank; the last one can be given back."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._back: Text | LineTooLong | None = None

    def next(self) -> Text | LineTooLong | None:
        if self._back is not None:
            line, self._back = self._back, None
            return line
        while True:
            self._lines.skip_blank(b" \t\r\n")
            try:
                number, raw = next(self._lines)
            except StopIteration:
                return None
            except LineTooLong as e:
                return e
            # A mark stands behind the first line where files were put together.
            raw = raw.removeprefix(BOM_UTF8)
            if raw and not raw.isspace():
                return Text(number, raw)

    def give_back(self, line: Text | LineTooLong) -> None:
        self._back = line


def _gathered(first: Text, reader: _Reader, limit: int) -> Text:
    parts, size = [first.raw], len(first.raw)
    indent = _indent(first.raw)
    while (line := reader.next()) is not None:
        if isinstance(line, LineTooLong) or _begins(line.raw, indent) or size + len(line.raw) >= limit:
            reader.give_back(line)
            break
        parts.append(line.raw)
        size += len(line.raw) + 1
    return Text(first.number, b"\n".join(parts), len(parts))


def _indent(raw: bytes) -> int:
    return len(raw) - len(raw.lstrip())


def _begins(raw: bytes, indent: int) -> bool:
    """Whether a line begins an object that isn't part of the one before."""
    return raw.lstrip()[:1] == b"{" and _indent(raw) <= indent


def is_whole(raw: bytes) -> bool:
    """Whether a line may be whole: what begins like an object ends like one, and anything else is JSON."""
    first = raw[:1] if raw[:1] == b"{" else raw.lstrip()[:1]
    if first == b"{":
        return raw[-1:] in (b"}", b",") or raw.rstrip()[-1:] in (b"}", b",")
    try:
        json.loads(raw)
    except (ValueError, RecursionError):
        return False
    return True


def objects_in(raw: bytes) -> list[bytes]:
    """The objects in a text that holds nothing else but commas between and behind them; none where it isn't so."""
    try:
        text = raw.decode("utf-8").strip()
    except UnicodeDecodeError:
        return []
    out: list[bytes] = []
    at = 0
    while at < len(text):
        try:
            value, end = _DECODE(text, at)
        except (ValueError, RecursionError):
            return []
        if not isinstance(value, dict):
            return []
        out.append(text[at:end].encode("utf-8", "surrogatepass"))
        at = end
        while at < len(text) and text[at] in ", \t\r\n":
            at += 1
    return out
