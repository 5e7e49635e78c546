"""Reads benchmark files as plain texts."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from steps.contracts.errors import InputError, InputNotFoundError
from steps.leakcheck.config import Benchmark

# What the parsers below raise on broken bytes. ValueError: also JSON and UTF-8, and numbers of too many digits;
# OSError: also gzip and damaged Parquet pages; RecursionError: JSON nested too deep.
_BROKEN = (ValueError, OSError, EOFError, RecursionError, csv.Error, zlib.error, pa.ArrowException)
# A question may be a whole book; Python's own limit is 131,072. The largest number that fits a C long everywhere.
_FIELD_CHARACTERS = 2**31 - 1
# A message's keys, as OpenAI and ShareGPT have them: who speaks is no text.
_MESSAGE = (("role", "content"), ("from", "value"))
_TEXT_COLUMNS = ("messages", "chosen", "rejected", "text")
_KNOWN = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt")


def benchmark_texts(benchmark: Benchmark, root: Path) -> Iterator[tuple[str, str]]:
    """(locator, text) per row; the locator is "row:<number>", counted from 1. Rows without text are skipped.

    Raises:
        InputNotFoundError: the file doesn't exist.
        InputError: unknown format, unreadable content, a column that isn't there, or no text at all.
    """
    path = root / benchmark.path
    where = f"benchmark {benchmark.name} ({benchmark.path})"
    if not path.is_file():
        raise InputNotFoundError("no such benchmark file", where=where, hint="correct leakcheck.benchmarks[].path")
    found = number = 0
    try:
        for number, row in enumerate(_rows(path, where), 1):
            said = _said(row) if benchmark.columns is None else _pick(row, benchmark.columns, where)
            text = "\n\n".join(_texts(said))
            if text.strip():
                found += 1
                yield f"row:{number}", text
    except InputError:
        raise
    except _BROKEN as e:
        # The message of the error may quote the file: only its kind is said.
        encoding = isinstance(e, UnicodeDecodeError)
        raise InputError(
            f"can't be read after row {number}: {type(e).__name__}",
            where=where,
            hint="save it as UTF-8" if encoding else "is it whole, and in the format of its name?",
        ) from e
    if not found:
        raise InputError("no text in any row", where=where, hint="name the right columns, or remove the benchmark")


def _rows(path: Path, where: str) -> Iterator[Any]:
    packed = path.suffix == ".gz"
    suffix = Path(path.stem).suffix if packed else path.suffix
    if suffix not in _KNOWN:
        raise InputError(f"unknown benchmark format {suffix!r}", where=where, hint="use one of " + ", ".join(_KNOWN))
    if suffix == ".parquet":
        for batch in pq.ParquetFile(path).iter_batches():
            yield from batch.to_pylist()
        return
    with gzip.open(path, "rb") if packed else path.open("rb") as raw:
        lines = io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")
        if suffix in (".csv", ".tsv"):
            yield from _table_rows(lines, "\t" if suffix == ".tsv" else ",")
        elif suffix == ".json":
            value = json.load(lines)
            yield from value if isinstance(value, list) else _longest_list(value)
        elif suffix == ".txt":
            yield from lines
        else:
            yield from (json.loads(line) for line in lines if line.strip())


def _table_rows(lines: Iterable[str], delimiter: str) -> Iterator[dict[str | Any, str | Any]]:
    before = csv.field_size_limit(_FIELD_CHARACTERS)
    try:
        yield from csv.DictReader(lines, delimiter=delimiter)
    finally:
        csv.field_size_limit(before)


def _longest_list(value: Any) -> list[Any]:
    """The rows of a JSON object such as {"version": 1, "data": [...]}; the object itself when it has no list."""
    lists = [v for v in value.values() if isinstance(v, list)] if isinstance(value, dict) else []
    return max(lists, key=len) if lists else [value]


def _pick(row: Any, columns: tuple[str, ...], where: str) -> list[Any]:
    if not isinstance(row, dict):
        raise InputError("columns are named, but the rows have none", where=where, hint="leave out `columns`")
    missing = [c for c in columns if c not in row]
    if missing:
        raise InputError(
            f"no column {', '.join(missing)}", where=where, hint="columns there: " + ", ".join(sorted(map(str, row)))
        )
    return [row[c] for c in columns]


def _said(row: Any) -> Any:
    """What of a row is text where no columns are named: its messages, the texts of a row of ours, else all of it."""
    if not isinstance(row, dict):
        return row
    if row.keys() >= {"record_id", "content_id"}:
        return [row.get(column) for column in _TEXT_COLUMNS]
    return [v for v in row.values() if isinstance(v, list) and any(map(_is_message, v))] or row


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and any(value.keys() >= {*pair} for pair in _MESSAGE)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes):  # Parquet columns whose writer didn't say that they are text
        yield value.decode("utf-8", "replace")
    elif isinstance(value, dict):
        said = next((value[content] for role, content in _MESSAGE if {role, content} <= value.keys()), None)
        for v in value.values() if said is None else [said]:
            yield from _texts(v)
    elif isinstance(value, (list, tuple)):
        for v in value:
            yield from _texts(v)
