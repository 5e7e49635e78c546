"""Reads every source into one dataset version; what can't be read goes to the reject file."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset, DatasetWriter
from steps.contracts.errors import InputError
from steps.contracts.file_artifact import FileArtifact
from steps.contracts.ledger import LedgerWriter
from steps.contracts.outcome import Outcome
from steps.engines.documents.reader import DocumentReaders
from steps.engines.formats.columns import check_columns
from steps.engines.formats.registry import detect, detect_most
from steps.engines.formats.text import is_rendered_chat
from steps.engines.progress.progress import Progress, Stopwatch
from steps.ingest.columnar.eligible import eligible
from steps.ingest.config import Container, IngestConfig, SourceConfig
from steps.ingest.containers import NoRows
from steps.ingest.dataset_info import Meaning
from steps.ingest.documents import DOCUMENTS, DocumentFiles
from steps.ingest.files import InputFile, find_files, told
from steps.ingest.hub import hub_rows
from steps.ingest.readers import Item, Raw, read_file, value_item
from steps.ingest.record_sink import RecordSink
from steps.ingest.rejects import REJECTS, RejectWriter
from steps.ingest.rows import RowReader
from steps.ingest.summary import summarize
from steps.ingest.unchanged_sources import (
    SOURCES,
    EarlierIngest,
    SourceRecord,
    SourceState,
    position,
    record,
    states,
    take_over,
    why_read,
    write_records,
)

# Chosen: the format of a file is judged by so many of its first readable rows, or so many bytes; of a
# document so many pages are looked at.
_SAMPLE_ROWS = 100
_SAMPLE_BYTES = 8 << 20
_SAMPLE_PAGES = 3
# Chosen: so many files are looked at before they are read; more than there are cores, few enough to hold their text.
_AHEAD = 32
_PROGRESS_ROWS = 500
# Chosen: more are read by nobody.
_NOTES = 40


@dataclass(frozen=True)
class _Part:
    """One file of a source, or a hub split: its name in `source`, its type, its size, and how to read it."""

    path: str
    container: Container
    bytes: int
    items: Callable[[], Iterator[Item]]
    file: InputFile | None = None
    # It was found in a folder, and not named.
    found: bool = False


def ingest(rows: None, config: IngestConfig, ctx: StageContext) -> Outcome:
    """Read all sources of `config` into a dataset; `rows` is None, since the sources are the input.

    The artifact `rejects` holds what couldn't be read (raw data that no one has scrubbed), `ingest_sources` what a
    later run needs. A source is not read again when the earlier run's artifacts hold it as it is now: under the same
    settings, `ctx.inputs` (what `input_digests` gives) and `ctx.code`. The result is the same. Where the digests
    aren't known, or rows are mixed by weight, everything is read.

    Raises:
        InputError: a source has no rows, no known format, or more rejects than `max_reject_share`.
        InputNotFoundError, MissingDependencyError, ServiceError: a source can't be reached.
    """
    watch = Stopwatch()
    notes: list[str] = []
    path = ctx.folder / REJECTS
    writer = DatasetWriter(ctx.folder, "ingest", one_shard=ctx.one_shard)
    now = states(config, ctx.inputs, ctx.code) if ctx.inputs is not None else {}
    earlier = EarlierIngest.among(ctx.earlier)
    earlier_records = earlier.records() if earlier else {}
    records: dict[str, SourceRecord] = {}
    with RejectWriter(path) as rejects, LedgerWriter(ctx.folder / "ledger.parquet", "ingest") as ledger:
        sink = RecordSink(config, writer, ledger, rejects, ctx.tombstones)
        with Progress("ingest") as progress:
            for source in config.sources:
                before = position(sink, writer)
                rejects.first.clear()
                if not _taken_over(source, now.get(source.name), earlier_records, earlier, sink, writer, notes):
                    _read_source(source, sink, ctx.root, ctx.folder, progress)
                _check_share(source, sink)
                if source.name in now:
                    after = position(sink, writer)
                    records[source.name] = record(now[source.name], before, after, sink.counters[source.name])
        sink.flush()
        write_records(ctx.folder / SOURCES, records)
        dataset = _mixed(config, sink, writer.close(), ctx.folder, notes)
        if not dataset.rows:
            raise InputError("no row is left", where="ingest", hint=f"see {path} and the sampling settings")
        finished = ledger.close()
        report = summarize(config, sink, dataset.rows, dataset.manifest.kinds, notes, watch)
    made = {"rejects": FileArtifact(path, raw=True), "ingest_sources": FileArtifact(ctx.folder / SOURCES)}
    return Outcome(dataset, finished, report, artifacts=made)


def input_digests(config: IngestConfig, root: Path) -> dict[str, str]:
    """What the sources are now: SHA-256 per file (stored bytes), "hub:<id>@<commit>" per hub source."""
    out: dict[str, str] = {}
    for source in config.sources:
        if source.hub is not None:
            out[f"{source.name}/{source.split}"] = f"hub:{source.hub}@{source.revision}:{source.subset or ''}"
        else:
            found = find_files(source, root)
            out |= {f"{source.name}/{f.relative}": f.sha256() for f in (*found.files, *found.descriptions)}
    return out


def _taken_over(
    source: SourceConfig,
    now: SourceState | None,
    earlier_records: Mapping[str, SourceRecord],
    earlier: EarlierIngest | None,
    sink: RecordSink,
    writer: DatasetWriter,
    notes: list[str],
) -> bool:
    """Whether the source stands as an earlier run read it; then its rows are here."""
    then = earlier_records.get(source.name)
    if earlier is None or now is None or then is None:
        return False
    why = why_read(then.state, now)
    if why is not None:
        notes.append(f"source {source.name} read again, because {why} since the earlier run")
        return False
    take_over(source, then, earlier, sink, writer)
    notes.append(f"source {source.name} not read: {then.counters['rows']:,} rows taken from the earlier run")
    return True


def _read_source(source: SourceConfig, sink: RecordSink, root: Path, folder: Path, progress: Progress) -> None:
    counters = sink.counters[source.name]
    empty: list[str] = []
    without: list[str] = []
    reader = RowReader(source, sink, folder)
    try:
        with DocumentReaders(sink.config.documents) as readers:
            documents = DocumentFiles(sink.config, readers)
            for part in _ahead(_parts(source, root, sink.config, documents, counters.notes)):
                before = counters.rows
                counters.bytes += part.bytes
                if not _read_part(part, source, reader, progress):
                    without.append(part.path)
                elif counters.rows == before:
                    empty.append(part.path)
        reader.finish()
        counters.notes += documents.notes()
    finally:
        reader.close()
    if without:
        what = f"{len(without):,} not read (one JSON object that is no row): {', '.join(without[:3])}"
        if not counters.rows:
            raise InputError(what, where=f"source {source.name}", hint="set `columns` if they are rows")
        counters.notes.append(f"source {source.name}: {what}")
    if not counters.rows:
        raise InputError("no rows: the input is empty", where=", ".join(empty[:3]), hint="check `path` and the file")
    if empty:
        counters.notes.append(f"{len(empty)} empty file(s) in source {source.name}, such as {empty[0]}")
    if len(counters.notes) > _NOTES:
        counters.notes[_NOTES:] = [f"source {source.name}: {len(counters.notes) - _NOTES:,} more notes of files"]


def _parts(
    source: SourceConfig, root: Path, config: IngestConfig, documents: DocumentFiles, notes: list[str]
) -> Iterator[_Part]:
    if source.hub is not None:
        yield _Part(f"{source.name}/{source.split}", "parquet", 0, lambda: _hub_items(source))
        return
    found = find_files(source, root)
    notes += found.notes
    refused: list[NoRows] = []
    for named in found.files:
        try:
            file, note = told(named, source)
        except NoRows as e:
            if not found.many:
                raise
            refused.append(e)
            continue
        if note:
            notes.append(f"{source.name}/{file.relative}: {note}")
        kind = DOCUMENTS.get(file.container)
        if kind is not None:
            items = documents.items(file, kind, f"{source.name}/{file.relative}")
        else:
            items = read_file(file, source, config.max_line_bytes, config.bounds, notes)
        where = f"{source.name}/{file.relative}"
        yield _Part(where, file.container, file.size, lambda items=items: items, file, found.many)  # type: ignore[misc]
    if refused and len(refused) == len(found.files):
        raise refused[0]
    notes += [f"not read: {e.where}: {e.what}" for e in refused]


def _ahead(parts: Iterable[_Part]) -> Iterator[_Part]:
    """The parts; those of documents are being read while earlier ones are taken."""
    waiting: deque[_Part] = deque()
    for part in parts:
        waiting.append(part)
        if len(waiting) > _AHEAD:
            yield waiting.popleft()
    yield from waiting


def _hub_items(source: SourceConfig) -> Iterator[Item]:
    for number, row in enumerate(hub_rows(source), 1):
        yield value_item(row, number)


def _read_part(part: _Part, source: SourceConfig, reader: RowReader, progress: Progress) -> bool:
    """Read the rows; False: a file in a folder that holds one JSON object which describes something else."""
    items = part.items()
    head = _head(items)
    sample = [i.value for i in head if isinstance(i, Raw)]
    reader.meaning = part.file.meaning if part.file is not None else None
    named = [reader.named(v, strict=False) for v in sample]
    lone = part.found and part.container in ("json", "jsonl") and len(head) == len(sample) == 1
    if lone and source.format == "auto" and not source.columns and detect(named[0]) is None:
        return False
    if source.columns and sample:
        check_columns(sample, source.columns, part.path)
    if not sample:
        if head:
            reader.start(part.path, part.container, "text" if source.format == "auto" else source.format)
    else:
        row_format = detect_most(named, part.path) if source.format == "auto" else source.format
        reader.start(part.path, part.container, row_format)
        if row_format == "text" and 2 * sum(map(is_rendered_chat, named)) > len(named):
            what = "its texts look like rendered chats; they are read as documents, on which SFT doesn't train"
            reader.sink.counters[source.name].notes.append(f"{part.path}: {what}")
    for item in head:
        reader.take(item)
    if part.file is None or not _read_by_columns(part.file, source, reader, head, progress):
        for number, item in enumerate(items, 1):
            reader.take(item)
            if number % _PROGRESS_ROWS == 0:
                progress.advance(_PROGRESS_ROWS)
    reader.finish_file()
    return True


def _read_by_columns(
    file: InputFile, source: SourceConfig, reader: RowReader, head: list[Item], progress: Progress
) -> bool:
    """Whether all rows behind the head were read in bulk."""
    if not eligible(file, source, reader):
        return False
    from steps.ingest.columnar.columnar import rest_by_columns

    return rest_by_columns(file, source, reader, head, progress)


def _head(items: Iterable[Item]) -> list[Item]:
    """The first items until enough of them are readable."""
    out: list[Item] = []
    rows = size = 0
    for item in items:
        out.append(item)
        rows += isinstance(item, Raw)
        size += len(item.raw)
        if rows >= _SAMPLE_ROWS or size >= _SAMPLE_BYTES or len(out) >= 10 * _SAMPLE_ROWS:
            break
    return out


def _check_share(source: SourceConfig, sink: RecordSink) -> None:
    counters, most = sink.counters[source.name], sink.config.max_reject_share
    lost, read = counters.rejected + counters.lost, counters.rows + counters.lost
    if counters.lost:
        counters.notes.append(
            f"source {source.name}: by their size, places that can't be read hold some {counters.lost:,} rows more than"
            " were rejected"
        )
    if lost <= most * read:
        return
    first = "".join(f"\n  {r}" for rejects in sink.rejects.first.values() for r in rejects)
    raise InputError(
        f"{lost:,} of {read:,} rows ({lost / read:.1%}) can't be read,"
        f" more than max_reject_share ({most:.1%}). The first of each reason:{first}",
        where=f"source {source.name}",
        hint=f"mend the input, correct `format`, `columns` or `encoding`, or raise max_reject_share; all are in"
        f" {sink.rejects.path}",
    )


def _mixed(config: IngestConfig, sink: RecordSink, dataset: Dataset, folder: Path, notes: list[str]) -> Dataset:
    """The dataset itself, or the selection of it that has the wanted shares."""
    if sink.mix is None:
        return dataset
    keep = sink.mix.keep([s.weight or 0.0 for s in config.sources])
    for chunk in dataset.chunks(["record_id"]):
        here = keep[chunk.start : chunk.start + chunk.table.num_rows]
        for record_id, stays in zip(chunk.table["record_id"].to_pylist(), here, strict=True):
            if not stays:
                sink.drop(record_id, "mixed_out")
    notes.append(f"mixed by weight: {int(keep.sum()):,} of {len(keep):,} rows; the histogram counts rows before mixing")
    return dataset.select(keep, folder, "ingest")


@dataclass(frozen=True)
class Beginning:
    """The first rows of a file: its name in `source`, its type, its bytes as stored, what is said of its rows."""

    path: str
    container: Container
    bytes: int
    meaning: Meaning | None
    items: list[Item]


def beginnings(source: SourceConfig, config: IngestConfig, root: Path) -> Iterator[Beginning]:
    """The beginning of every file of a source; no more is read.

    Raises:
        InputError: as `ingest`.
    """
    with DocumentReaders(config.documents, _SAMPLE_PAGES) as readers:
        for part in _parts(source, root, config, DocumentFiles(config, readers), []):
            meaning = part.file.meaning if part.file is not None else None
            yield Beginning(part.path, part.container, part.bytes, meaning, _head(part.items()))


@dataclass(frozen=True)
class Count:
    """Rows of a source, `bytes` as stored. `exact`: all were counted, else the number is told by size."""

    rows: int
    bytes: int
    exact: bool


def count_rows(source: SourceConfig, config: IngestConfig, root: Path, most: int) -> Count:
    """How many rows a source has: the first `most` of each file are read, and what is behind them is taken to be as
    long (of a compressed file as if it weren't compressed: there are more).

    Raises:
        InputError: as `ingest`.
    """
    rows = size = 0
    exact = True
    with DocumentReaders(config.documents, _SAMPLE_PAGES) as readers:
        for part in _parts(source, root, config, DocumentFiles(config, readers), []):
            items = part.items()
            read = [len(item.raw) for item in islice(items, most)]
            more = next(items, None) is not None
            rows += max(len(read) + 1, round(len(read) * part.bytes / max(1, sum(read)))) if more else len(read)
            size += part.bytes
            exact = exact and not more
    return Count(rows, size, exact)
