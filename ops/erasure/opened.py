"""The content of any file, unpacked: Parquet and Arrow, SQLite, archives; everything else as its bytes are."""

import gzip
import io
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import zstandard

from steps.contracts.errors import InputError

_DAMAGED = (pa.ArrowException, OSError, EOFError, zipfile.BadZipFile, zstandard.ZstdError, sqlite3.Error)
# Pieces overlap by so many bytes, so that nothing is cut in two.
_PIECE, _OVERLAP = 8 << 20, 4096
_SQLITE = b"SQLite format 3\0"
_ZIP, _GZIP, _ZSTD, _PARQUET, _ARROW = b"PK\x03\x04", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1", b"ARROW1"


def contents(path: Path) -> Iterator[bytes]:
    """All that a file holds, piece by piece; of a packed one also the bytes as they lie.

    Raises:
        InputError: it is packed in one of these ways, and can't be unpacked; after the bytes as they lie were given.
    """
    with path.open("rb") as f:
        head = f.read(16)
        yield head
        yield from _pieces(f, head)
    try:
        if head.startswith(_PARQUET):
            yield from _parquet(path)
        elif head.startswith(_ARROW):
            yield from _arrow(path)
        elif head.startswith(_SQLITE):
            yield from _sqlite(path)
        else:
            with path.open("rb") as f:
                yield from _unpacked(f, head)
    except _DAMAGED as e:
        raise InputError(f"can't be opened: {type(e).__name__}", where=str(path)) from e


def is_database(path: Path) -> bool:
    """Whether a file is one of SQLite's."""
    with path.open("rb") as f:
        return f.read(len(_SQLITE)) == _SQLITE


def _unpacked(f: IO[bytes], head: bytes) -> Iterator[bytes]:
    if head.startswith(_ZIP):
        with zipfile.ZipFile(f) as archive:
            for name in archive.namelist():
                yield name.encode()
                with archive.open(name) as inner:
                    yield from _pieces(inner)
    elif head.startswith(_GZIP):
        with gzip.open(f) as inner:
            yield from _pieces(inner)
    elif head.startswith(_ZSTD):
        yield from _pieces(zstandard.ZstdDecompressor().stream_reader(f))


def _pieces(f: Any, kept: bytes = b"") -> Iterator[bytes]:
    while piece := f.read(_PIECE):
        yield kept + piece
        kept = piece[-_OVERLAP:]


def _parquet(path: Path) -> Iterator[bytes]:
    file = pq.ParquetFile(path)
    yield str(file.schema_arrow.metadata).encode()
    for group in range(file.num_row_groups):
        yield from said_in(file.read_row_group(group))


def _arrow(path: Path) -> Iterator[bytes]:
    with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
        for i in range(file.num_record_batches):
            yield from said_in(pa.Table.from_batches([file.get_batch(i)]))


def said_in(table: pa.Table) -> Iterator[bytes]:
    """All texts and bytes of a table, of nested columns too, one per line."""
    for column in table.columns:
        for chunk in column.chunks:
            yield from _array(chunk)


def _array(values: pa.Array) -> Iterator[bytes]:
    kind = values.type
    if pa.types.is_dictionary(kind):
        yield from _array(values.dictionary)
    elif pa.types.is_struct(kind):
        for child in values.flatten():
            yield from _array(child)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_map(kind):
        if not pa.types.is_map(kind):
            yield from _array(values.flatten())
        else:
            yield from _array(values.keys)
            yield from _array(values.items)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        yield from _joined(values)
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        yield from _joined(values)
        # Ids that are kept as bytes.
        yield "\n".join(v.hex() for v in values.drop_null().to_pylist() if len(v) in (16, 32)).encode()


def _joined(values: pa.Array) -> Iterator[bytes]:
    values = values.drop_null()
    if len(values):
        whole = pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values.cast(pa.binary()))
        yield pc.binary_join(whole, b"\n")[0].as_py()


def _sqlite(path: Path) -> Iterator[bytes]:
    yield from (row_bytes(row) for row in rows_of(path))


def rows_of(path: Path) -> Iterator[tuple[object, ...]]:
    """All rows of all tables of a database."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)) as db:
        for table in tables(db):
            yield from db.execute(f'SELECT * FROM "{table}"')


def tables(db: sqlite3.Connection) -> list[str]:
    """Names of a database's tables."""
    return [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]


def row_bytes(row: tuple[object, ...]) -> bytes:
    """A row of a database as one text."""
    out = io.BytesIO()
    for value in row:
        out.write(value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass"))
        out.write(b"\n")
    return out.getvalue()
