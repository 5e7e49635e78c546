"""The columnar path of ingest: clean rows of a known shape from bytes to records without a Python object per row.

The careful path (`readers`, `rows`) says what is right. This one reads blocks of a file on all cores, takes from each
the rows that it understands whole, and hands the others on, in order; the result is the same to the last byte. Of each
block some rows are read both ways, and where they differ the whole block goes the careful way.
"""

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, islice

import pyarrow as pa

from steps.engines.execution.threads import ordered
from steps.engines.progress.progress import Progress
from steps.ingest.columnar.blocks import MOST_COLUMNS, Block, ItemBlock, LineBlock, RowBlock, Settings
from steps.ingest.config import SourceConfig
from steps.ingest.files import InputFile
from steps.ingest.readers import Item, Raw, line_items, mended_notes, reading
from steps.ingest.rows import RowReader
from steps.ingest.streams import Prefixed, unpacking, with_newlines
from steps.ingest.tables import parquet_batches

_BLOCK_BYTES = 4 << 20
_MOST_ROWS = 8_192


def rest_by_columns(
    file: InputFile, source: SourceConfig, reader: RowReader, head: list[Item], progress: Progress
) -> bool:
    """Read all items of an eligible file behind its `head`, which the careful path has taken; False: nothing was read.

    `reader` is at this file.
    """
    counters, limit = reader.sink.counters[source.name], reader.config.max_line_bytes
    # The first row of a format is an example in the report.
    if reader.format not in counters.examples:
        return False
    names = _names(head)
    if not 0 < len(names) <= MOST_COLUMNS:
        return False
    settings = Settings(reader.path, source.batch, reader.format, reader.config.meta_columns, limit, names)
    mended: Counter[str] = Counter()
    blocks = _blocks(file, source, reader, head, mended)
    first = next(blocks, None)
    if first is None:
        return False
    for done in ordered(lambda block: block.read(settings, reader.record), chain([first], blocks)):
        reader.take_block(done)
        progress.advance(done.count)
    counters.notes += [f"{reader.path}: {note}" for note in mended_notes(mended)]
    return True


def _names(head: list[Item]) -> tuple[str, ...]:
    """Columns of the first rows as they come, but for names that JSON may write in several ways; none of rows
    that aren't objects.
    """
    rows = [item for item in head if isinstance(item, Raw)]
    if not all(row.raw.lstrip().startswith(b"{") for row in rows):
        return ()
    names = dict.fromkeys(k for row in rows for k in row.value)
    return tuple(n for n in names if n.isascii() and n.isprintable() and '"' not in n and "\\" not in n)


def _blocks(
    file: InputFile, source: SourceConfig, reader: RowReader, head: list[Item], mended: Counter[str]
) -> Iterator[Block]:
    """The blocks of the file behind its head; none where its first lines aren't the head's items."""
    bounds, limit = reader.config.bounds, reader.config.max_line_bytes
    with reading(file, reader.path), unpacking(reader.path):
        if file.container == "parquet":
            with file.open_seekable(bounds) as raw:
                yield from _row_blocks(parquet_batches(raw, file.size, bounds, reader.path, _MOST_ROWS), len(head))
            return
        with file.open_text(source.encoding, bounds) as stream:
            blocks = _line_blocks(with_newlines(stream, file.container), limit, mended)
            first = next(blocks, None)
            if isinstance(first, LineBlock) and _begins_with(first.data, head):
                yield replace(first, skip=head[-1].line or 0)
                yield from blocks


def _begins_with(data: bytes, head: list[Item]) -> bool:
    """Whether the first lines that aren't blank are these items, one each."""
    lines = ((n, line.rstrip(b"\r\n")) for n, line in enumerate(io.BytesIO(data), 1))
    found = islice(((n, line) for n, line in lines if line and not line.isspace()), len(head))
    # By line, not by row, as values that may stand over several lines are numbered.
    return [(item.locator, item.raw) for item in head] == [(f"line:{n}", line) for n, line in found]


def _row_blocks(batches: Iterator[pa.RecordBatch], skip: int) -> Iterator[Block]:
    number = 0
    for batch in batches:
        left = max(skip - number, 0)
        # Long rows in small pieces: memory holds several of them, each several times.
        step = max(1, min(_MOST_ROWS, _BLOCK_BYTES * batch.num_rows // max(batch.nbytes, 1)))
        for start in range(left, batch.num_rows, step):
            yield RowBlock(batch.slice(start, step), number + start + 1)
        number += batch.num_rows


def _line_blocks(stream: io.BufferedReader, limit: int, mended: Counter[str]) -> Iterator[Block]:
    """The file in blocks that begin with an object; where none begins for longer than a line may be, all the rest."""
    number, left = 1, b""
    while data := stream.read(_BLOCK_BYTES):
        left += data
        end = left.rfind(b"\n{") + 1
        if end:
            yield LineBlock(left[:end], number, mended)
            number, left = number + left.count(b"\n", 0, end), left[end:]
        elif len(left) > limit:
            yield from _item_blocks(line_items(io.BufferedReader(Prefixed(left, stream)), limit, mended, number))
            return
    if left:
        yield LineBlock(left, number, mended)


def _item_blocks(items: Iterator[Item]) -> Iterator[Block]:
    block: list[Item] = []
    size = 0
    for item in items:
        block.append(item)
        size += len(item.raw)
        if size >= _BLOCK_BYTES or len(block) >= _MOST_ROWS:
            yield ItemBlock(block)
            block, size = [], 0
    if block:
        yield ItemBlock(block)
