"""Files as raw rows: a dict with its locator, line and bytes, or the reason why there is none."""

import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, NamedTuple

from steps.contracts.digests import canonical_json
from steps.contracts.errors import AssayError, InputError, ServiceError
from steps.contracts.records import Row
from steps.engines.formats.bare import columns_of, is_message, is_nothing_but_message
from steps.engines.formats.chat import first_turn
from steps.engines.formats.columns import renamed
from steps.engines.formats.dialects.described import listed
from steps.engines.formats.dialects.parsing import DECODER, DuplicateKey
from steps.engines.formats.names import standard
from steps.engines.formats.registry import detect, unwrapped
from steps.engines.formats.rejected import RowRejected
from steps.ingest.config import CANONICAL_COLUMNS, SourceConfig
from steps.ingest.csv_layout import Layout, layout
from steps.ingest.csv_records import Broken, Record, records
from steps.ingest.files import InputFile
from steps.ingest.json_forms import TopLevel, form, rows_in_columns, top_level
from steps.ingest.json_lines import objects_in, texts
from steps.ingest.json_values import JsonValues, Value, next_object
from steps.ingest.streams import BOUNDS, Bounds, Expanded, Lines, LineTooLong, unpacking, with_newlines
from steps.ingest.tables import Found, Unread, arrow_rows, excel_rows, header_of, parquet_rows

_TABLES = {"parquet": parquet_rows, "arrow": arrow_rows, "xlsx": excel_rows}
_SUSPECT = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)|\x00")
# "sep=;" and what Excel makes of it.
_SEPARATOR = re.compile(rb'"?sep=(.)"?', re.IGNORECASE)
# Chosen: of more keys nobody reads the names.
_KEYS = 10
_HEAD = 1 << 16
_SEVERAL, _JOINED, _COMMA = "several objects on a line", "an object over several lines", "a comma behind the object"
_SURROGATE = re.compile("[\ud800-\udfff]")


class Raw(NamedTuple):
    """A row as it was read: the columns (`value`), where it stood, the bytes that name it, and what was cleaned."""

    locator: str
    line: int | None
    raw: bytes
    value: Row
    cleaned: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bad:
    """A row that can't be read, or something that may have been `weight` rows by its size. `raw` is its start."""

    locator: str
    line: int | None
    raw: bytes
    reason: str
    hint: str
    weight: int = 1


Item = Raw | Bad


def read_file(
    file: InputFile, source: SourceConfig, limit: int, bounds: Bounds = BOUNDS, notes: list[str] | None = None
) -> Iterator[Item]:
    """The rows of one file; `limit` is the longest row in bytes. What is assumed about the file is added to `notes`.

    Raises:
        InputError: the file as a whole can't be read (damaged archive, not Parquet, no CSV header).
    """
    where = f"{source.name}/{file.relative}"
    said = notes if notes is not None else []
    with reading(file, where), unpacking(where):
        if file.container in _TABLES:
            yield from _table(file, limit, bounds, where)
        elif file.packing is None:
            yield from _texts(_TextFile(file, source, limit, bounds, where, said))
        else:
            most = bounds.most_rows(file.size)
            for number, item in enumerate(_texts(_TextFile(file, source, limit, bounds, where, said))):
                if number > most:
                    raise Expanded(bounds.unpacked_bytes(file.size), where)
                yield item


def _texts(of: "_TextFile") -> Iterator[Item]:
    if of.file.container in ("jsonl", "json"):
        yield from _json_text(of)
        return
    with of.open() as stream:
        if of.file.container == "csv":
            yield from _csv(stream, of)
        else:
            yield from _document(stream, of.file, of.limit)


@contextmanager
def reading(file: InputFile, where: str) -> Iterator[None]:
    """Turn what the system or a file store raises into an error that names the file."""
    try:
        yield
    except PermissionError as e:
        raise InputError("not allowed to read the file", where=where, hint="change its permissions") from e
    except AssayError:
        raise
    except Exception as e:
        if file.fs is not None:
            what = f"the file store fails: {type(e).__name__}: {e}"
            raise ServiceError(what, where=where, hint="check the connection; run again") from e
        if isinstance(e, OSError):
            raise InputError(f"the file can't be read: {e.strerror}", where=where, hint="check the disk") from e
        raise


@dataclass(frozen=True)
class _TextFile:
    """A file of text with what its reading needs."""

    file: InputFile
    source: SourceConfig
    limit: int
    bounds: Bounds
    where: str
    notes: list[str]

    def open(self) -> AbstractContextManager[io.BufferedReader]:
        return self.file.open_text(self.source.encoding, self.bounds)

    def say(self, note: str) -> None:
        self.notes.append(f"{self.where}: {note}")


def _json_text(of: _TextFile) -> Iterator[Item]:
    with of.open() as stream:
        found = form(_peek(stream), lines_named=of.file.container == "jsonl")
        if found == "lines":
            yield from _under_names(_lines(stream, of), of)
        elif found == "array":
            yield from _array(stream, of)
        else:
            yield from _values_or_one(stream, of)


def _array(stream: io.BufferedReader, of: _TextFile) -> Iterator[Item]:
    items = _values(JsonValues(stream, of.limit), of.limit)
    first = next(items, None)
    if first is None:
        return
    if isinstance(first, Raw) and is_message(first.value) and (whole := _one_conversation(of)) is not None:
        of.say("one list of messages, read as one conversation")
        yield whole
        return
    if of.file.container == "jsonl":
        of.say("read as one JSON array")
    yield from _under_names(chain([first], items), of)


def _one_conversation(of: _TextFile) -> Raw | None:
    """A file that is one list of messages; None where they say more than a conversation's, or begin several."""
    with of.open() as stream:
        raw = stream.read(of.limit + 1).strip()
    try:
        found = DECODER.decode(raw.decode("utf-8-sig")) if len(raw) <= of.limit else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, list) or not all(is_nothing_but_message(m) for m in found):
        return None
    systems = [n for n, m in enumerate(found) if any(str(m.get(k)).lower() == "system" for k in ("role", "from"))]
    if systems not in ([], [0]):
        return None
    item = _decoded("row:1", 1, raw)
    return item if isinstance(item, Raw) else None


def _under_names(items: Iterator[Item], of: _TextFile) -> Iterator[Item]:
    """The items; those behind a first list of names of columns are lists of values under these names."""
    first = next(items, None)
    names = _names_in(first) if first is not None else None
    if names is None:
        yield from items if first is None else chain([first], items)
        return
    of.say(f"lists under the names in the first one: {listed(names)}")
    for item in items:
        cells = _list_in(item)
        if cells is None:
            yield item
        elif len(cells) != len(names):
            hint = f"{len(cells)} values, but the first list names {len(names)} columns"
            yield Bad(item.locator, item.line, item.raw, "csv_columns", hint)
        else:
            cleaned, what = clean(dict(zip(names, cells, strict=True)))
            yield Raw(item.locator, item.line, item.raw, cleaned, what)


def _list_in(item: Item) -> list[Any] | None:
    """The list that an item was; None where it was something else."""
    if item.raw.lstrip()[:1] != b"[":
        return None
    try:
        found = DECODER.decode(item.raw.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) else None


def _names_in(item: Item) -> list[str] | None:
    """The names of columns that a first list holds: texts that a format knows as columns of one row."""
    names = _list_in(item)
    if names is None or len(names) < 2 or not all(isinstance(n, str) for n in names) or len(set(names)) < len(names):
        return None
    return names if detect(standard(dict.fromkeys(names, "x"), strict=False)) is not None else None


def _peek(stream: io.BufferedReader) -> bytes:
    """The start of a text, as far as the buffer holds it."""
    head = stream.peek(1 << 20)
    # What is unpacked comes in smaller pieces.
    return head if len(head) >= _HEAD else stream.peek(1 << 20)


def _values_or_one(stream: io.BufferedReader, of: _TextFile) -> Iterator[Item]:
    """Values that follow one another, or a single object: a row, or around the rows."""
    with of.open() as again:
        top = top_level(again)
    if top.whole and not top.alone and not _broken_around_list(of, top):
        of.say("objects that aren't one to a line")
        yield from _values(JsonValues(stream, of.limit), of.limit)
    elif (rows := _within_one(of, top)) is not None:
        yield from rows
    elif top.whole and b"\n" not in _peek(stream).strip():
        yield from _lines(stream, of)
    else:
        yield from _values(JsonValues(stream, of.limit), of.limit)


def _broken_around_list(of: _TextFile, top: TopLevel) -> bool:
    """Whether the first object is broken and holds a list of rows: then what stands behind it may be part of it."""
    if len(top.lists) != 1 or _is_column(top):
        return False
    return top.size > of.limit or _one_object(of, top) is None


def _is_column(top: TopLevel) -> bool:
    """Whether a list of objects is a part of a row, such as its messages."""
    return any(key in CANONICAL_COLUMNS or key == "replies" for key in top.lists)


def _within_one(of: _TextFile, top: TopLevel) -> Iterator[Item] | None:
    """The rows that a single object holds; None where it is a row itself, or nothing is known of it.

    Raises:
        InputError: it holds several lists of rows.
    """
    value = _one_object(of, top) if top.whole and top.size <= of.limit else None
    if value is not None:
        named = standard(renamed(value, of.source.columns), of.source.columns, strict=False)
        rows = rows_in_columns(value, sure=detect(named) is None) if first_turn(named) is None else None
        if rows is None and detect(named) is not None:
            return None
        if rows is None and (rows := _rows_by_id(value)) is not None:
            of.say(f"one object of {len(rows):,} rows by their ids")
            return (value_item(row, number) for number, row in enumerate(rows, 1))
        if rows is None and len(top.lists) > 1:
            top.lists = _of_rows(top.lists, value)
        if rows is not None:
            of.say(f"one object of columns, read as {len(rows):,} rows")
            return (value_item(row, number) for number, row in enumerate(rows, 1))
    if len(top.lists) > 1 and top.whole:
        raise InputError(
            f"several lists of objects in one: {listed(sorted(top.lists)[:_KEYS])}"
            + (f" and {len(top.lists) - _KEYS:,} more" if len(top.lists) > _KEYS else ""),
            where=of.where,
            hint="write the one that holds the rows into a file of its own",
        )
    if not top.lists or (value is None and _is_column(top)):
        return None
    (key, (start, line)), *_ = top.lists.items()
    of.say(f"the rows are those of the list {listed([key])}")
    return _listed_rows(of, start, line)


def _of_rows(lists: dict[str, tuple[int, int]], value: Row) -> dict[str, tuple[int, int]]:
    """Those of several lists whose first object is a row; all where none is."""
    found = {key: at for key, at in lists.items() if _is_row(value[key][0])}
    return found or lists


def _is_row(value: Any) -> bool:
    return detect(unwrapped(standard(value, strict=False))) is not None


def _rows_by_id(value: Row) -> list[Row] | None:
    """The rows of an object that holds them under their ids; None if it doesn't."""
    rows: list[Row] = []
    for key, held in value.items():
        try:
            row = held if isinstance(held, dict) else columns_of(held) if isinstance(held, list) else {}
        except RowRejected:
            return None
        if not _is_row(row):
            return None
        rows.append(row if "id" in row else {"id": key, **row})
    return rows or None


def _one_object(of: _TextFile, top: TopLevel) -> Row | None:
    with of.open() as stream:
        text = stream.read(top.size)
    found = _decoded("row:1", 1, text.lstrip(b"\xef\xbb\xbf"))
    return found.value if isinstance(found, Raw) else None


def _listed_rows(of: _TextFile, start: int, line: int) -> Iterator[Item]:
    with of.open() as stream:
        while start:
            start -= len(stream.read(min(start, _HEAD)))
        yield from _values(JsonValues(stream, of.limit, line, within=True), of.limit)


def _lines(stream: io.BufferedReader, of: _TextFile) -> Iterator[Item]:
    mended: Counter[str] = Counter()
    yield from line_items(with_newlines(stream, of.file.container), of.limit, mended)
    for note in mended_notes(mended):
        of.say(note)


def line_items(stream: io.BufferedReader, limit: int, mended: Counter[str], first: int = 1) -> Iterator[Item]:
    """One object to a line; also several on one, one over several, and a comma behind one, which `mended` counts.

    `first` is the number of the first line.
    """
    for text in texts(Lines(stream, limit, first), limit):
        if isinstance(text, LineTooLong):
            yield Bad(f"line:{text.line}", text.line, text.head, "too_long", _too_long_hint(text.size, limit))
            continue
        item = _decoded(f"line:{text.number}", text.number, text.raw)
        if isinstance(item, Bad) and item.reason == "broken_json":
            parts = objects_in(text.raw)
            if parts:
                mended[_SEVERAL if len(parts) > 1 else _COMMA] += 1
                yield from (_decoded(_place(text.number, n), text.number, part) for n, part in enumerate(parts))
                continue
        if text.lines > 1:
            mended[_JOINED] += isinstance(item, Raw)
            if isinstance(item, Bad):
                item = replace(item, weight=text.lines, hint=f"{item.hint}; {text.lines} lines up to the next object")
        yield item


def mended_notes(mended: Mapping[str, int]) -> list[str]:
    """What `line_items` counted, in words."""
    found = [(what, mended[what]) for what in (_SEVERAL, _JOINED, _COMMA) if mended.get(what)]
    return [f"{what}, in {count:,} place{'s' if count > 1 else ''}: read all the same" for what, count in found]


def _place(line: int, number: int) -> str:
    return f"line:{line}" if number == 0 else f"line:{line}:{number + 1}"


def _values(values: JsonValues, limit: int) -> Iterator[Item]:
    keys: frozenset[str] = frozenset()
    rows = size = 0
    for value in values:
        locator = f"row:{value.number}"
        if value.problem:
            item: Item = Bad(locator, value.line, value.raw[:2000], *_value_problem(value, limit))
        else:
            item = _decoded(locator, value.line, value.raw)
        if isinstance(item, Raw):
            keys, rows, size = frozenset(item.value), rows + 1, size + len(value.raw)
        elif item.reason != "not_an_object" and (start := _next(value, keys)) is not None:
            values.read_again(value, start)
            item = replace(item, weight=_rows_in(start, rows, size))
        elif value.problem in ("cut_off", "after_end", "too_deep"):
            lost = len(value.raw) + value.skipped + (values.skip_rest() if value.problem != "cut_off" else 0)
            item = replace(item, weight=_rows_in(lost, rows, size))
        yield item


def _next(value: Value, keys: frozenset[str]) -> int | None:
    """Where in a broken value another row begins. What is only too long has parts, and may be the first row."""
    if value.problem == "too_long" and not keys:
        return None
    return next_object(value.raw, keys, ended=value.problem is None)


def _rows_in(lost: int, rows: int, size: int) -> int:
    """How many rows so many bytes are, by those read so far; at least one."""
    return max(1, round(lost * rows / size)) if size else 1


def _value_problem(value: Value, limit: int) -> tuple[str, str]:
    if value.problem == "too_long":
        return (
            "too_long",
            f"longer than max_line_bytes ({limit:,}) from line {value.line} on; is a quote or bracket unclosed?",
        )
    if value.problem == "too_deep":
        return "too_deep", f"brackets nested deeper than rows are, from line {value.line} on; what follows is lost"
    if value.problem == "after_end":
        return "after_end", "text behind the end of the array; write one array, or one object per line (.jsonl)"
    return "cut_off", f"the file ends inside the array or the value that starts in line {value.line}"


def _decoded(locator: str, line: int | None, raw: bytes) -> Item:
    try:
        value = DECODER.decode(raw.decode("utf-8"))
    except (ValueError, RecursionError) as e:
        return Bad(locator, line, raw, *_json_problem(e))
    if not isinstance(value, dict):
        try:
            value = columns_of(value)
        except RowRejected as e:
            return Bad(locator, line, raw, e.reason, e.hint or "")
    if not _suspect(raw):
        return Raw(locator, line, raw, value)
    cleaned, what = clean(value)
    return Raw(locator, line, raw, cleaned, what)


def _json_problem(error: Exception) -> tuple[str, str]:
    if isinstance(error, UnicodeDecodeError):
        return "encoding", f"byte {error.start + 1} of the row isn't UTF-8; set `encoding` (cp1252?)"
    if isinstance(error, DuplicateKey):
        return "duplicate_key", f"{error}: keep one of them"
    if isinstance(error, json.JSONDecodeError) and error.doc.lstrip()[:2] == "{'":
        return "broken_json", "quotes are Python's, not JSON's: write rows with json.dumps"
    if isinstance(error, json.JSONDecodeError):
        return "broken_json", f"{error.msg} at character {error.pos + 1} of the row"
    if isinstance(error, RecursionError):
        return "too_deep", "brackets nested deeper than Python's limit"
    return "broken_json", "a number with too many digits"


def _csv(stream: io.BufferedReader, of: _TextFile) -> Iterator[Item]:
    text, delimiter, where = with_newlines(stream, "csv"), of.source.delimiter, of.where
    lines = Lines(text, of.limit)
    first = _peek(text).split(b"\n", 1)[0].rstrip(b"\r")
    named = _SEPARATOR.fullmatch(first)
    if named is not None:
        # Excel's own line, which says what separates cells.
        delimiter = delimiter or named[1].decode("latin-1")
        next(lines)
    try:
        found = layout(_peek(text).decode("utf-8", "surrogateescape"), delimiter, of.source.header, where)
        for _ in range(found.skip):
            next(lines, None)
    except csv.Error as e:
        raise InputError(f"the header can't be read: {e}", where=where, hint="is it a CSV file?") from e
    except LineTooLong as e:
        raise InputError(f"the header is too long: {_too_long_hint(e.size, of.limit)}", where=where) from e
    for note in found.notes:
        of.say(note)
    _check_columns(len(found.names), of.bounds, where)
    if found.names:
        yield from _csv_rows(lines, found, of)


def _csv_rows(lines: Lines, found: Layout, of: _TextFile) -> Iterator[Item]:
    header = header_of(found.names, of.where)
    old_limit, again = csv.field_size_limit(of.limit), 0
    try:
        for record in records(lines, found.dialect, len(header)):
            if isinstance(record, Record) and record.cells == found.names:
                again += 1
            elif isinstance(record, Record):
                yield _csv_row(header, record.cells, record.line)
            elif isinstance(record, Broken):
                head = record.text.encode("utf-8", "surrogateescape")
                yield Bad(f"line:{record.line}", record.line, head, record.reason, record.hint, record.lines)
            else:
                hint = _too_long_hint(record.size, of.limit)
                yield Bad(f"line:{record.line}", record.line, record.head, "too_long", hint)
    finally:
        csv.field_size_limit(old_limit)
    if again:
        of.say(f"the header line stands {again:,} times more among the rows, and is no row")


def _check_columns(count: int, bounds: Bounds, where: str) -> None:
    if count > bounds.columns:
        hint = "is it the right file, or the right `delimiter`? Otherwise raise max_columns"
        raise InputError(f"{count:,} columns, more than max_columns ({bounds.columns:,})", where=where, hint=hint)


def _csv_row(header: list[str], cells: list[str], line: int) -> Item:
    locator = f"line:{line}"
    raw = canonical_json(cells).encode("utf-8", "surrogateescape")
    if len(cells) != len(header):
        return Bad(locator, line, raw, "csv_columns", f"{len(cells)} cells, but the header names {len(header)} columns")
    if any(_SURROGATE.search(c) for c in cells):
        return Bad(locator, line, raw, "encoding", "the row isn't UTF-8; set `encoding` (cp1252?)")
    value, what = clean(dict(zip(header, cells, strict=True))) if _suspect(raw) else (None, ())
    return Raw(locator, line, raw, value or dict(zip(header, cells, strict=True)), what)


def _table(file: InputFile, limit: int, bounds: Bounds, where: str) -> Iterator[Item]:
    with file.open_seekable(bounds) as raw:
        for found in _TABLES[file.container](raw, file.size, bounds, where):
            yield table_item(found, limit)


def table_item(found: Found, limit: int) -> Item:
    """The item that a row of a table is."""
    if isinstance(found, Unread):
        return Bad(f"row:{found.number}", None, b"", found.reason, found.hint)
    item = value_item(found[1], found[0])
    if len(item.raw) > limit:
        return Bad(item.locator, None, item.raw[:2000], "too_long", _too_long_hint(len(item.raw), limit))
    return item


def value_item(row: Row, number: int) -> Raw:
    """A row that was never text (Parquet, hub). Its canonical JSON stands for its bytes; NaN becomes null."""
    try:
        text = canonical_json(row)
    except (ValueError, TypeError):
        row = plain(row)
        text = canonical_json(row)
    raw = text.encode("utf-8", "surrogatepass")
    if not _suspect(raw):
        return Raw(f"row:{number}", None, raw, row)
    cleaned, what = clean(row)
    return Raw(f"row:{number}", None, raw, cleaned, what)


def _document(stream: io.BufferedReader, file: InputFile, limit: int) -> Iterator[Item]:
    raw = stream.read(limit + 1)
    if not raw.strip():
        return
    if len(raw) > limit:
        yield Bad("row:1", 1, raw[:2000], "too_long", f"longer than max_line_bytes ({limit:,}); split the document")
        return
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as e:
        yield Bad("row:1", 1, raw[:2000], "encoding", f"byte {e.start + 1} isn't UTF-8; set `encoding` (cp1252?)")
        return
    row, what = clean({"text": text})
    yield Raw("row:1", 1, raw, row, what)


def _suspect(raw: bytes) -> bool:
    """Whether the text of a row may hold a NUL or a lone surrogate (escaped; raw surrogates aren't UTF-8)."""
    return (b"\\u" in raw or b"\0" in raw) and _SUSPECT.search(raw) is not None


def clean(value: Any) -> tuple[Any, tuple[str, ...]]:
    """The value without NUL characters, and with U+FFFD for every lone surrogate; which of the two were found."""
    found: set[str] = set()
    return _clean(value, found), tuple(sorted(found))


def _clean(value: Any, found: set[str]) -> Any:
    if isinstance(value, str):
        if "\x00" in value:
            found.add("nul_removed")
            value = value.replace("\x00", "")
        if _SURROGATE.search(value):
            found.add("surrogate_replaced")
            value = _SURROGATE.sub("\ufffd", value)
        return value
    if isinstance(value, list):
        return [_clean(v, found) for v in value]
    if isinstance(value, dict):
        return {_clean(k, found): _clean(v, found) for k, v in value.items()}
    return value


def plain(value: Any) -> Any:
    """JSON-like value of what Arrow gives: non-finite numbers become None, dates and bytes become text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value if value is None or isinstance(value, (str, int, bool)) else str(value)


def _too_long_hint(size: int, limit: int) -> str:
    return f"{size:,} bytes, more than max_line_bytes ({limit:,})"
