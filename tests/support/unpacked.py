"""All that a file holds, whatever it is packed in: what a search for something that mustn't be there looks through."""

import bz2
import gzip
import io
import lzma
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard


def contents(file: Path) -> Iterator[bytes]:
    """The bytes of a file as they lie (a database's free pages too), then what is packed in them."""
    raw = file.read_bytes()
    yield raw
    yield from _inside(raw, file)


def _inside(raw: bytes, file: Path) -> Iterator[bytes]:
    if raw.startswith(b"PAR1"):
        table = pq.read_table(io.BytesIO(raw))
        yield repr(table.schema.metadata).encode()
        yield from _table(table)
    elif raw.startswith(b"ARROW1"):
        yield from _table(pa.ipc.open_file(io.BytesIO(raw)).read_all())
    elif raw.startswith(b"SQLite format 3\0"):
        yield from _database(file)
    elif raw.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            for name in archive.namelist():
                yield name.encode()
                inner = archive.read(name)
                yield inner
                yield from _inside(inner, file)
    for magic, unpack in _PACKED.items():
        if raw.startswith(magic):
            inner = unpack(raw)
            yield inner
            yield from _inside(inner, file)


def _zstd(raw: bytes) -> bytes:
    with zstandard.ZstdDecompressor().stream_reader(raw) as reader:
        return reader.read()


_PACKED: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress, b"\x28\xb5\x2f\xfd": _zstd, b"BZh": bz2.decompress, b"\xfd7zXZ": lzma.decompress,
}  # fmt: skip


def _table(table: pa.Table) -> Iterator[bytes]:
    for column in table.columns:
        yield "\n".join(_said(value) for value in column.to_pylist()).encode("utf-8", "surrogatepass")


def _said(value: Any) -> str:
    """Every text in a value, in turn: a `repr` would escape some."""
    if isinstance(value, dict):
        return "\n".join(f"{k}\n{_said(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return "\n".join(map(_said, value))
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _database(file: Path) -> Iterator[bytes]:
    """Rows too: in its pages a long text is cut in pieces."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            rows = db.execute(f'SELECT * FROM "{table}"').fetchall()
            yield _said(rows).encode("utf-8", "surrogatepass")
