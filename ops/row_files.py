"""Rows in one file, of the type that its name says: JSON Lines, a JSON array, CSV, Parquet; packed where it says so."""

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from steps.contracts.errors import ConfigError
from steps.contracts.records import Row

# Chosen: rows that are turned into columns at once.
_GROUP_ROWS = 2_048
# Columns that differ so much from row to row that a common type would add keys to most of them.
_AS_JSON = ("tools",)
_PACKINGS = (".gz", ".zst")


@dataclass(frozen=True)
class FileType:
    """What a name says: the type by its suffix, and the packing ("" for none)."""

    suffix: str
    packing: str


def type_by_name(path: Path) -> FileType:
    """The type of file that a name asks for.

    Raises:
        ConfigError: its suffix is none of those that are written.
    """
    suffixes = [s.lower() for s in path.suffixes]
    packing = suffixes.pop() if suffixes and suffixes[-1] in _PACKINGS else ""
    suffix = suffixes[-1] if suffixes else ""
    if suffix not in _WRITERS or (packing and suffix == ".parquet"):
        hint = f"end it with {', '.join(_WRITERS)}, and all but .parquet also with {' or '.join(_PACKINGS)}"
        raise ConfigError(f"no type of file that is written is named {suffix + packing!r}", where=str(path), hint=hint)
    return FileType(suffix, packing)


@dataclass
class Spool:
    """Rows on their way into a file; which columns there are is known when all have come."""

    path: Path
    rows: int = 0
    columns: dict[str, "_Kind"] = field(default_factory=dict)

    @contextmanager
    def filling(self) -> Iterator[Callable[[Row], None]]:
        """A function that takes a row."""
        with self.path.open("w", encoding="utf-8") as file:

            def add(row: Row) -> None:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                for name, value in row.items():
                    self.columns[name] = _merged(self.columns.get(name), _kind(value))
                self.rows += 1

            yield add

    def read(self) -> Iterator[Row]:
        """The rows again."""
        with self.path.open(encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)


def write_rows(spool: Spool, kind: FileType, path: Path) -> None:
    """Write the rows into a new file of that type; `path` may have any name."""
    _WRITERS[kind.suffix](spool, path, kind.packing)


@contextmanager
def _open(path: Path, packing: str) -> Iterator[IO[str]]:
    """A text file to write. What is packed holds neither its name nor the time."""
    with path.open("wb") as raw:
        packed: Any = raw
        if packing == ".gz":
            packed = gzip.GzipFile("", "wb", fileobj=raw, mtime=0)
        elif packing == ".zst":
            packed = zstandard.ZstdCompressor().stream_writer(raw, closefd=False)
        with io.TextIOWrapper(cast("IO[bytes]", packed), encoding="utf-8", newline="") as text:
            yield text


def _json_lines(spool: Spool, path: Path, packing: str) -> None:
    with _open(path, packing) as out, spool.path.open(encoding="utf-8") as lines:
        out.writelines(lines)


def _json(spool: Spool, path: Path, packing: str) -> None:
    with _open(path, packing) as out, spool.path.open(encoding="utf-8") as lines:
        out.write("[")
        for number, line in enumerate(lines):
            out.write((",\n" if number else "\n") + line.rstrip("\n"))
        out.write("\n]\n")


def _csv(spool: Spool, path: Path, packing: str, delimiter: str = ",") -> None:
    """Cells are text; other values are JSON, and a missing one is an empty cell."""
    with _open(path, packing) as out:
        table = csv.writer(out, delimiter=delimiter, lineterminator="\n")
        table.writerow(spool.columns)
        table.writerows([_cell(row.get(name)) for name in spool.columns] for row in spool.read())


def _tsv(spool: Spool, path: Path, packing: str) -> None:
    _csv(spool, path, packing, "\t")


def _cell(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)


def _parquet(spool: Spool, path: Path, _: str) -> None:
    """Columns of one type are of that type; others, and tools, are JSON text."""
    kinds = {name: "json" if name in _AS_JSON else kind for name, kind in spool.columns.items()}
    schema = pa.schema([(name, _arrow(kind)) for name, kind in kinds.items()])
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as out:
        coming = spool.read()
        while group := list(islice(coming, _GROUP_ROWS)):
            rows = [{name: _stored(row.get(name), kind) for name, kind in kinds.items()} for row in group]
            out.write_table(pa.Table.from_pylist(rows, schema=schema))


# What a column's values have in common: a name of a type ("json" for nothing), of lists what is in them, of objects
# each key's. None: only nulls.
_Kind: TypeAlias = "str | list[_Kind] | dict[str, _Kind] | None"
_SCALARS: Mapping[type, str] = {bool: "bool", int: "int", float: "float", str: "str"}
_ARROW = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "str": pa.string(), "json": pa.string()}
_INT64 = range(-(1 << 63), 1 << 63)


def _kind(value: Any) -> _Kind:
    if value is None:
        return None
    if isinstance(value, list):
        return [_all(map(_kind, value))]
    if isinstance(value, dict):
        return {key: _kind(v) for key, v in value.items()} or "json"
    if isinstance(value, int) and value not in _INT64:
        return "json"
    return _SCALARS[type(value)]


def _all(kinds: Iterable[_Kind]) -> _Kind:
    found: _Kind = None
    for kind in kinds:
        found = _merged(found, kind)
    return found


def _merged(a: _Kind, b: _Kind) -> _Kind:
    if a is None or b is None or a == b:
        return b if a is None else a
    if isinstance(a, list) and isinstance(b, list):
        return [_merged(a[0], b[0])]
    if isinstance(a, dict) and isinstance(b, dict):
        return {key: _merged(a.get(key), b.get(key)) for key in [*a, *(k for k in b if k not in a)]}
    return "float" if {str(a), str(b)} == {"int", "float"} else "json"


def _arrow(kind: _Kind) -> pa.DataType:
    if isinstance(kind, list):
        return pa.list_(_arrow(kind[0]))
    if isinstance(kind, dict):
        return pa.struct([(key, _arrow(k)) for key, k in kind.items()])
    return _ARROW[kind or "str"]


def _stored(value: Any, kind: _Kind) -> Any:
    if value is None:
        return None
    if isinstance(kind, list):
        return [_stored(v, kind[0]) for v in value]
    if isinstance(kind, dict):
        return {key: _stored(value.get(key), k) for key, k in kind.items()}
    if kind == "json":
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return float(value) if kind == "float" else value


_WRITERS: dict[str, Callable[[Spool, Path, str], None]] = {
    ".jsonl": _json_lines, ".ndjson": _json_lines, ".json": _json, ".csv": _csv, ".tsv": _tsv, ".parquet": _parquet,
}  # fmt: skip
