"""Rows of binary tables: Parquet, Arrow and Excel files. A row that can't be read is one, not the end of the file."""

import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from steps.contracts.errors import AssayError, InputError, MissingDependencyError
from steps.contracts.records import Row
from steps.engines.formats.dialects.described import listed
from steps.ingest.streams import ROW_BYTES, Bounds, Expanded

_AGAIN = "copy or write it again"
_BATCH_ROWS = 1_000
# Chosen: what a batch may hold as it comes out, so that memory stays at a few times this.
_BATCH_BYTES = 64 << 20


@dataclass(frozen=True)
class Unread:
    """A row that can't be read: its number from 1, why, and what to do."""

    number: int
    reason: str
    hint: str


Found = tuple[int, Row] | Unread


class _Budget:
    """How much may still come out of a file, in bytes."""

    def __init__(self, size: int, bounds: Bounds, where: str) -> None:
        self._left = self._most = bounds.unpacked_bytes(size)
        self._where = where

    def take(self, rows: int, size: int) -> None:
        """So much more comes out.

        Raises:
            Expanded: it is too much.
        """
        self._left -= max(size, rows * ROW_BYTES)
        if self._left < 0:
            raise Expanded(self._most, self._where)


def parquet_rows(raw: IO[bytes], size: int, bounds: Bounds, where: str) -> Iterator[Found]:
    """Rows of a Parquet file of `size` stored bytes.

    Raises:
        InputError: it is damaged, or holds far more than a file of its size.
    """
    number = 0
    for batch in parquet_batches(raw, size, bounds, where):
        yield from batch_rows(batch, number)
        number += batch.num_rows


def parquet_batches(
    raw: IO[bytes], size: int, bounds: Bounds, where: str, most: int = _BATCH_ROWS
) -> Iterator[pa.RecordBatch]:
    """The same in batches of `most` rows at most, fewer where they hold much."""
    with _damaged("not a Parquet file, or a damaged one", where):
        file = pq.ParquetFile(raw, page_checksum_verification=True)
        _check_columns_of_groups(file)
        probe = _probe(file, raw)
        _check_width(len(file.schema_arrow.names), bounds, where)
        _check_promise(file.metadata, _Budget(size, bounds, where))
    budget = _Budget(size, bounds, where)
    for group in range(file.metadata.num_row_groups):
        missing = file.metadata.row_group(group).num_rows
        for batch in _group_batches(file, group, probe, where, most):
            budget.take(batch.num_rows, batch.nbytes)
            missing -= batch.num_rows
            yield batch
        if missing:
            # The head of a page, which no checksum covers, ends it too early.
            raise InputError(f"a damaged Parquet file: {missing:,} rows of it are gone", where=where, hint=_AGAIN)


def _check_columns_of_groups(file: pq.ParquetFile) -> None:
    """Read one row of each row group: what its footer says of a column wrongly is an error here, where asking the
    metadata for that column ends the process (pyarrow 25).
    """
    for group in range(file.metadata.num_row_groups):
        next(file.iter_batches(batch_size=1, row_groups=[group]), None)


def _check_promise(metadata: Any, budget: _Budget) -> None:
    """What a file says of itself must be within its bounds; a row group that says too little is found while reading."""
    cells = sum(
        metadata.row_group(g).column(c).num_values
        for g in range(metadata.num_row_groups)
        for c in range(metadata.row_group(g).num_columns)
    )
    budget.take(metadata.num_rows, cells)


def _group_batches(
    file: pq.ParquetFile, group: int, probe: pq.ParquetFile | None, where: str, most: int
) -> Iterator[pa.RecordBatch]:
    with _damaged(f"row group {group + 1} of {file.metadata.num_row_groups} is damaged", where):
        yield from file.iter_batches(batch_size=_rows_at_once(file, group, probe, most), row_groups=[group])


def _rows_at_once(file: pq.ParquetFile, group: int, probe: pq.ParquetFile | None, most: int) -> int:
    """Rows in a batch, at most so many; fewer where a dictionary repeats long texts: these take little in the file, and
    much outside.
    """
    columns = file.metadata.row_group(group)
    longest = 0
    for index in range(columns.num_columns):
        column = columns.column(index)
        if column.physical_type == "BYTE_ARRAY" and "DELTA_BYTE_ARRAY" in column.encodings:
            # Each text may begin with all of the one before.
            longest += column.total_uncompressed_size
    if probe is not None:
        first = next(probe.iter_batches(batch_size=1, row_groups=[group]), None)
        longest += sum(_longest(array) for array in first.columns) if first is not None else 0
    return max(1, min(most, _BATCH_BYTES // longest)) if longest else most


def _probe(file: pq.ParquetFile, raw: IO[bytes]) -> pq.ParquetFile | None:
    """The file with its dictionaries as they are stored; None where it has none of texts."""
    groups = [file.metadata.row_group(g) for g in range(file.metadata.num_row_groups)]
    paths = {
        c.path_in_schema
        for group in groups
        for c in (group.column(i) for i in range(group.num_columns))
        if c.physical_type == "BYTE_ARRAY" and c.has_dictionary_page
    }
    return pq.ParquetFile(raw, read_dictionary=sorted(paths), page_checksum_verification=True) if paths else None


def _longest(array: Any) -> int:
    """Bytes of the longest text in the dictionaries of an array."""
    if pa.types.is_dictionary(array.type):
        lengths = pc.max(pc.binary_length(array.dictionary)).as_py() if len(array.dictionary) else 0
        return int(lengths or 0)
    if pa.types.is_struct(array.type):
        return sum(_longest(array.field(i)) for i in range(array.type.num_fields))
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type) or pa.types.is_map(array.type):
        return _longest(array.values)
    return 0


def arrow_rows(raw: IO[bytes], size: int, bounds: Bounds, where: str) -> Iterator[Found]:
    """Rows of an Arrow file or stream of `size` stored bytes.

    Raises:
        InputError: it is damaged, or holds far more than a file of its size.
    """
    budget = _Budget(size, bounds, where)
    number = 0
    for batch in _arrow_batches(raw, where):
        if number == 0:
            _check_width(batch.num_columns, bounds, where)
        if not _valid(batch):
            # Offsets may point anywhere, and even asking for a part's size would follow them.
            budget.take(batch.num_rows, batch.get_total_buffer_size())
            yield from _one_by_one(batch, number)
            number += batch.num_rows
            continue
        # As many rows as fit, so that what Python makes of them doesn't fill the memory.
        step = max(1, min(_BATCH_ROWS, _BATCH_BYTES * batch.num_rows // max(batch.nbytes, 1)))
        for start in range(0, batch.num_rows, step):
            part = batch.slice(start, step)
            budget.take(part.num_rows, part.nbytes)
            yield from batch_rows(part, number)
            number += part.num_rows


def _arrow_batches(raw: IO[bytes], where: str) -> Iterator[pa.RecordBatch]:
    with _damaged("not an Arrow file, or a damaged one", where):
        is_file = raw.read(6) == b"ARROW1"
        raw.seek(0)
        if is_file:
            file = pa.ipc.open_file(raw)
            for index in range(file.num_record_batches):
                yield file.get_batch(index)
        else:
            yield from pa.ipc.open_stream(raw)


@contextmanager
def _damaged(what: str, where: str) -> Iterator[None]:
    """Whatever Arrow says of broken bytes, with errors of many types, is the file's fault."""
    try:
        yield
    except AssayError:
        raise
    except Exception as e:
        raise InputError(what, where=where, hint=_AGAIN) from e


def _check_width(columns: int, bounds: Bounds, where: str) -> None:
    if columns > bounds.columns:
        what = f"{columns:,} columns, more than max_columns ({bounds.columns:,})"
        raise InputError(what, where=where, hint="is it the right file? Otherwise raise max_columns")


def _valid(batch: pa.RecordBatch) -> bool:
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def batch_rows(batch: pa.RecordBatch, before: int) -> Iterator[Found]:
    """The rows of a batch; `before`: those in front of it."""
    try:
        batch.validate(full=True)
        rows = batch.to_pylist()
    except Exception:  # noqa: BLE001 (text that isn't UTF-8, dates out of range: as many errors as types)
        yield from _one_by_one(batch, before)
        return
    yield from enumerate(rows, before + 1)


def _one_by_one(batch: pa.RecordBatch, before: int) -> Iterator[Found]:
    for index in range(batch.num_rows):
        row, bad = batch.slice(index, 1), []
        value: Row = {}
        for name, column in zip(row.schema.names, row.columns, strict=True):
            try:
                column.validate(full=True)
                value[name] = column.to_pylist()[0]
            except Exception as e:  # noqa: BLE001 (as above)
                bad.append(f"{name[:40]!r} ({column.type}): {_why(e)}")
        if bad:
            hint = f"column {'; column '.join(bad[:3])}; write it again, or leave the column out"
            yield Unread(before + index + 1, "bad_value", hint)
        else:
            yield before + index + 1, value


def _why(error: Exception) -> str:
    """What is wrong with a value, without the value."""
    if isinstance(error, UnicodeDecodeError) or "UTF8" in str(error):
        return "not UTF-8"
    if isinstance(error, (OverflowError, ValueError)) and not isinstance(error, pa.ArrowInvalid):
        return "out of range"
    return "can't be read"


def excel_rows(raw: IO[bytes], size: int, bounds: Bounds, where: str) -> Iterator[Found]:
    """Rows of the one sheet of a workbook that has any, under the names in its first row; numbered as in the sheet.

    Raises:
        MissingDependencyError: openpyxl isn't installed.
        InputError: it is damaged, has several sheets with rows, or unpacks to far more than a file of its size.
    """
    try:
        import openpyxl
    except ImportError as e:
        hint = "install the extra: pip install 'assay[xlsx]'; or save the sheet as CSV"
        raise MissingDependencyError("Excel files need the package openpyxl", where=where, hint=hint) from e
    budget = _Budget(size, bounds, where)
    try:
        with zipfile.ZipFile(raw) as archive:
            budget.take(0, sum(i.file_size for i in archive.infolist()))
        book = openpyxl.load_workbook(raw, read_only=True, data_only=True)
        sheets = {n: s for n, s in enumerate(book.worksheets, 1) if _has_cells(s)}
        if len(sheets) > 1:
            # By number: a title may be somebody's name.
            numbers = ", ".join(str(n) for n in list(sheets)[:5])
            raise InputError(
                f"several sheets with rows: {numbers}", where=where, hint="save the one that is meant as CSV or alone"
            )
        for sheet in sheets.values():
            yield from _sheet_rows(sheet, budget, bounds, where)
    except AssayError:
        raise
    except Exception as e:  # zip, XML and openpyxl have errors of their own
        raise InputError(f"a damaged Excel file ({type(e).__name__})", where=where, hint="save it again") from e


def _has_cells(sheet: Any) -> bool:
    # A file may say less of its size than it has.
    sheet.reset_dimensions()
    return any(any(c is not None for c in row) for row in islice(sheet.iter_rows(values_only=True), 1000))


def _sheet_rows(sheet: Any, budget: _Budget, bounds: Bounds, where: str) -> Iterator[Found]:
    header: list[str] = []
    for number, cells in enumerate(sheet.iter_rows(values_only=True), 1):
        budget.take(1, len(cells))
        width = max((i for i, c in enumerate(cells, 1) if c is not None), default=0)
        if not width:
            continue
        if not header:
            _check_width(width, bounds, where)
            header = header_of(["" if c is None else str(c) for c in cells[:width]], where)
        elif width > len(header):
            yield Unread(number, "csv_columns", f"{width} cells, but the header names {len(header)} columns")
        else:
            yield number, dict(zip(header, [*cells, *[None] * len(header)], strict=False))


def header_of(cells: Sequence[str], where: str) -> list[str]:
    """Names of columns without blanks around them; those without a name are called after their place.

    Raises:
        InputError: a name stands there twice.
    """
    header = [cell.strip() or f"column_{number}" for number, cell in enumerate(cells, 1)]
    twice = sorted(name for name, count in Counter(header).items() if count > 1)
    if twice:
        raise InputError(f"columns named twice: {listed(twice)}", where=where, hint="rename them in the header line")
    return header
