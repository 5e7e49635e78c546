"""Files as raw rows: a dict with its locator, line and bytes, or the reason why there is none."""

import csv
import io
import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from steps.contracts.digests import canonical_json
from steps.contracts.errors import AssayError, InputError, ServiceError
from steps.contracts.records import Row
from steps.ingest.config import SourceConfig
from steps.ingest.csv_records import Broken, Record, records
from steps.ingest.files import InputFile
from steps.ingest.json_values import JsonValues, Value, next_object
from steps.ingest.streams import Lines, LineTooLong, ReplacedBytes, unpacking

_PARQUET_ROWS = 1_000
_SUSPECT = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)|\x00")
# "sep=;" and what Excel makes of it.
_SEPARATOR = re.compile(rb'"?sep=(.)"?', re.IGNORECASE)
_HEAD = 1 << 16
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


def read_file(file: InputFile, source: SourceConfig, limit: int) -> Iterator[Item]:
    """The rows of one file; `limit` is the longest row in bytes.

    Raises:
        InputError: the file as a whole can't be read (damaged archive, not Parquet, no CSV header).
    """
    where = f"{source.name}/{file.relative}"
    with reading(file, where), unpacking(where):
        if file.container == "parquet":
            yield from _parquet(file, where)
            return
        with file.open_text(source.encoding) as stream:
            if file.container == "csv":
                yield from _csv(stream, source.delimiter, limit, where)
            elif file.container == "jsonl" or (file.container == "json" and _is_lines(stream)):
                yield from _jsonl(stream, limit)
            elif file.container == "json":
                yield from _json(stream, limit)
            else:
                yield from _document(stream, file, limit)


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


def _jsonl(stream: io.BufferedReader, limit: int) -> Iterator[Item]:
    decode = json.JSONDecoder(strict=False, parse_constant=_null).decode
    lines = Lines(stream, limit)
    while True:
        try:
            number, raw = next(lines)
        except StopIteration:
            return
        except LineTooLong as e:
            yield Bad(f"line:{e.line}", e.line, e.head, "too_long", _too_long_hint(e.size, limit))
            continue
        if raw and not raw.isspace():
            yield _decoded(decode, f"line:{number}", number, raw)


def _json(stream: io.BufferedReader, limit: int) -> Iterator[Item]:
    decode = json.JSONDecoder(strict=False, parse_constant=_null).decode
    values = JsonValues(stream, limit)
    keys: frozenset[str] = frozenset()
    rows = size = 0
    for value in values:
        locator = f"row:{value.number}"
        if value.problem:
            item: Item = Bad(locator, value.line, value.raw[:2000], *_value_problem(value, limit))
        else:
            item = _decoded(decode, locator, value.line, value.raw)
        if isinstance(item, Raw):
            keys, rows, size = frozenset(item.value), rows + 1, size + len(value.raw)
        elif (start := _next(value, keys)) is not None:
            values.read_again(value, start)
            item = replace(item, weight=_rows_in(start, rows, size))
        elif value.problem in ("cut_off", "after_end"):
            lost = len(value.raw) + value.skipped + (values.skip_rest() if value.problem == "after_end" else 0)
            item = replace(item, weight=_rows_in(lost, rows, size))
        yield item


def _next(value: Value, keys: frozenset[str]) -> int | None:
    """Where in a broken value another row begins. What is only too long has parts, and may be the first row."""
    return None if value.problem == "too_long" and not keys else next_object(value.raw, keys)


def _rows_in(lost: int, rows: int, size: int) -> int:
    """How many rows so many bytes are, by those read so far; at least one."""
    return max(1, round(lost * rows / size)) if size else 1


def _value_problem(value: Value, limit: int) -> tuple[str, str]:
    if value.problem == "too_long":
        return (
            "too_long",
            f"longer than max_line_bytes ({limit:,}) from line {value.line} on; is a quote or bracket unclosed?",
        )
    if value.problem == "after_end":
        return "after_end", "text behind the end of the array; write one array, or one object per line (.jsonl)"
    return "cut_off", f"the file ends inside the array or the value that starts in line {value.line}"


def _is_lines(stream: io.BufferedReader) -> bool:
    """Whether the first line is a whole JSON object: then a .json file holds JSON Lines."""
    first = stream.peek(1 << 20).lstrip().split(b"\n", 1)[0]
    if not first.startswith(b"{"):
        return False
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def _decoded(decode: Any, locator: str, line: int | None, raw: bytes) -> Item:
    try:
        value = decode(raw.decode("utf-8"))
    except (ValueError, RecursionError) as e:
        return Bad(locator, line, raw, *_json_problem(e))
    if not isinstance(value, dict):
        return Bad(locator, line, raw, "not_an_object", 'a row must be a JSON object: {"column": value, ...}')
    if not _suspect(raw):
        return Raw(locator, line, raw, value)
    cleaned, what = clean(value)
    return Raw(locator, line, raw, cleaned, what)


def _json_problem(error: Exception) -> tuple[str, str]:
    if isinstance(error, UnicodeDecodeError):
        return "encoding", f"byte {error.start + 1} of the row isn't UTF-8; set `encoding` (cp1252?)"
    if isinstance(error, json.JSONDecodeError):
        return "broken_json", f"{error.msg} at character {error.pos + 1} of the row"
    if isinstance(error, RecursionError):
        return "too_deep", "brackets nested deeper than Python's limit"
    return "broken_json", "a number with too many digits"


def _csv(stream: io.BufferedReader, delimiter: str | None, limit: int, where: str) -> Iterator[Item]:
    lines = Lines(_with_newlines(stream), limit)
    first = next(lines, None)
    named = _SEPARATOR.fullmatch(first[1]) if first is not None else None
    if named is not None:
        # Excel's own line, which says what separates cells.
        delimiter, first = delimiter or named[1].decode("latin-1"), next(lines, None)
    if first is None:
        return
    text = first[1].decode("utf-8", "surrogateescape")
    delimiter = delimiter or max(",;\t|", key=text.count)
    header = _header(next(csv.reader([text], delimiter=delimiter)), where)
    old_limit = csv.field_size_limit(limit)
    try:
        for found in records(lines, delimiter, len(header)):
            if isinstance(found, Record):
                yield _csv_row(header, found.cells, found.line)
            elif isinstance(found, Broken):
                head = found.text.encode("utf-8", "surrogateescape")
                yield Bad(f"line:{found.line}", found.line, head, found.reason, found.hint, found.lines)
            else:
                yield Bad(f"line:{found.line}", found.line, found.head, "too_long", _too_long_hint(found.size, limit))
    finally:
        csv.field_size_limit(old_limit)


def _header(cells: list[str], where: str) -> list[str]:
    """Names of the columns without blanks around them; those without a name are called after their place."""
    header = [cell.strip() or f"column_{number}" for number, cell in enumerate(cells, 1)]
    twice = sorted({c for c in header if header.count(c) > 1})
    if twice:
        raise InputError(f"columns named twice: {', '.join(twice)}", where=where, hint="rename them in the header line")
    return header


def _with_newlines(stream: io.BufferedReader) -> io.BufferedReader:
    """The same lines, ended by LF where the file's first ones are ended by CR alone."""
    head = stream.peek(_HEAD)[:_HEAD]
    if b"\r" not in head or b"\n" in head:
        return stream
    return io.BufferedReader(ReplacedBytes(stream, b"\r", b"\n"))


def _csv_row(header: list[str], cells: list[str], line: int) -> Item:
    locator = f"line:{line}"
    raw = canonical_json(cells).encode("utf-8", "surrogateescape")
    if len(cells) != len(header):
        return Bad(locator, line, raw, "csv_columns", f"{len(cells)} cells, but the header names {len(header)} columns")
    if any(_SURROGATE.search(c) for c in cells):
        return Bad(locator, line, raw, "encoding", "the row isn't UTF-8; set `encoding` (cp1252?)")
    value, what = clean(dict(zip(header, cells, strict=True))) if _suspect(raw) else (None, ())
    return Raw(locator, line, raw, value or dict(zip(header, cells, strict=True)), what)


def _parquet(file: InputFile, where: str) -> Iterator[Item]:
    with file.open_raw() as raw:
        try:
            parquet = pq.ParquetFile(raw)
        except (pa.ArrowInvalid, OSError) as e:
            raise InputError("not a Parquet file, or a damaged one", where=where, hint="copy it again") from e
        number = 0
        for batch in parquet.iter_batches(batch_size=_PARQUET_ROWS):
            for row in batch.to_pylist():
                number += 1
                yield value_item(row, number)


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


def _null(_: str) -> None:
    return None


def _too_long_hint(size: int, limit: int) -> str:
    return f"{size:,} bytes, more than max_line_bytes ({limit:,})"
