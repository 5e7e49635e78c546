"""Rows of a file, of a dataset version, or of those that a stage took out, to look at."""

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from materializers.artifacts import stage_of
from ops.reading import Reading
from ops.row_history import Rows, open_rows
from ops.versions import Version
from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.errors import ConfigError, InputError, InputNotFoundError
from steps.contracts.records import COMMON_COLUMNS, Row, current
from steps.contracts.runs import RunRecord
from steps.ingest.config import IngestConfig
from steps.ingest.mix import hash64
from steps.ingest.peek import peek

_OUT = ("dropped", "quarantined")


@dataclass(frozen=True)
class Choice:
    """Which rows are wanted.

    Attributes:
        rows: at most so many. seed: drawn by it; None: the first ones.
        split: only of this split; None: of all.
        raw: also text that was never scrubbed.
    """

    rows: int
    seed: int | None = None
    split: str | None = None
    raw: bool = False


@dataclass(frozen=True)
class Sample:
    """A row to look at. `row` is None where its text was never scrubbed, or (`gone`) is in no version.

    why: what ended it.
    """

    record_id: str
    row: Row | None
    why: str = ""
    gone: bool = False


@dataclass(frozen=True)
class Samples:
    """What was found: `of` so many rows that were meant, in `where`. rejected: rows on the way to these that can't be
    read, by reason.
    """

    where: str
    of: int
    samples: tuple[Sample, ...]
    rejected: Mapping[str, int] = field(default_factory=dict)


def version_samples(version: Version, choice: Choice) -> Samples:
    """Rows of a dataset version."""
    found = _of_dataset(version.dataset, choice, f"run {version.run.name}, {version.artifact.name}")
    return found if version.scrubbed or choice.raw else _without_text(found)


def dropped_samples(root: Path, run: RunRecord, stage: str | None, reason: str, choice: Choice) -> Samples:
    """Rows that a stage dropped or set aside for a reason that begins so.

    Raises:
        InputNotFoundError: no row of the run was.
    """
    rows = open_rows(root, run)
    ledgers = [a.step for a in run.of_type("ledger") if stage in (None, stage_of(a))]
    ended = _ended(rows, ledgers)
    lines = ended.filter(pc.starts_with(ended["reason"], reason))
    if not lines.num_rows:
        reasons = sorted(set(ended["reason"].to_pylist()))
        hint = f"reasons there are: {', '.join(reasons) or 'none'}"
        raise InputNotFoundError(f"no row was taken out for {reason!r}", where=f"run {run.name}", hint=hint)
    chosen = lines.take(pa.array(_chosen(lines["record_id"].to_pylist(), choice), pa.int64())).to_pylist()
    texts = rows.texts([line["record_id"] for line in chosen], choice.raw)
    why = [f"{line['verdict']} by {line['stage']}: {line['reason']}" for line in chosen]
    ids = [line["record_id"] for line in chosen]
    missing = [i for i in ids if i not in texts]
    there = rows.texts(missing, raw=True).keys() if missing and not choice.raw else ()
    gone = {i for i in missing if i not in there}
    samples = tuple(Sample(i, texts.get(i), w, i in gone) for i, w in zip(ids, why, strict=True))
    return Samples(f"run {run.name}", lines.num_rows, samples)


def _ended(rows: Rows, steps: Sequence[str]) -> pa.Table:
    """The ledgers' lines that say that a row went, or was set aside."""
    schema = pa.schema([(name, pa.string()) for name in ("record_id", "stage", "verdict", "reason")])
    files = [path for step in steps for path in rows.ledger_files(step)]
    tables = [pq.ParquetFile(path).read(schema.names).cast(schema) for path in files]
    table = pa.concat_tables([schema.empty_table(), *tables])
    return table.filter(pc.is_in(table["verdict"], pa.array(_OUT)))


def samples_of_files(inputs: list[str], reading: Reading, choice: Choice) -> Samples:
    """Rows of files: the first ones without reading on, or some of all."""
    one = Path(inputs[0])
    if (one / "manifest.json").is_file():
        return _of_dataset(Dataset.open(one), choice, str(one))
    if one.suffix == ".parquet" and one.is_file() and set(COMMON_COLUMNS) <= _columns(one):
        return _of_rows_file(one, choice)
    config = reading.config(inputs)
    if choice.split is not None:
        raise ConfigError("rows have a split only after the stage that gives it", where="--split")
    if choice.seed is None:
        return _first(inputs, config, choice)
    from steps.ingest.ingest import ingest

    with tempfile.TemporaryDirectory() as folder:
        read = ingest(None, config, StageContext(Path(folder), Path.cwd())).rows
        return _of_dataset(read, choice, ", ".join(inputs))


def _first(inputs: list[str], config: IngestConfig, choice: Choice) -> Samples:
    """The first rows of the first file that has any.

    Raises:
        InputError: a file is of no known format, or no row can be read.
    """
    rows: list[Row] = []
    rejected: Counter[str] = Counter()
    for file in (f for source in config.sources for f in peek(source, config, Path.cwd())):
        if file.format is None:
            raise InputError(file.why, where=file.path, hint="assay head --columns prompt=<column>,completion=<column>")
        rows += file.rows
        rejected += file.rejected
        if len(rows) >= choice.rows:
            break
    where = ", ".join(inputs)
    if not rows:
        raise _nothing(where, rejected)
    shown = tuple(Sample(r["record_id"], r) for r in rows[: choice.rows])
    return Samples(where, len(shown), shown, rejected)


def _nothing(where: str, rejected: Counter[str]) -> InputError:
    if not rejected:
        return InputError("no rows: it is empty", where=where)
    why = ", ".join(f"{reason} {n}" for reason, n in rejected.most_common())
    hint = "`assay stage ingest FILE --out FOLDER` says of each row why"
    if rejected.most_common(1)[0][0] == "encoding":
        hint = "its text isn't UTF-8: `--encoding cp1252` reads what Windows writes in Western Europe"
    return InputError(f"none of the first {rejected.total()} rows can be read: {why}", where=where, hint=hint)


def _columns(path: Path) -> set[str]:
    try:
        return set(pq.read_schema(path).names)
    except pa.ArrowInvalid:
        return set()


def _of_rows_file(path: Path, choice: Choice) -> Samples:
    """Of what a stage wrote as plain Parquet."""
    file = pq.ParquetFile(path)
    ids, splits = (file.read([c])[c].to_pylist() for c in ("record_id", "split"))
    meant = [i for i, split in enumerate(splits) if choice.split in (None, split)]
    at = sorted(meant[i] for i in _chosen([ids[i] for i in meant], choice))
    return Samples(str(path), len(meant), tuple(Sample(r["record_id"], r) for r in _rows_at(file, at)))


def _rows_at(file: pq.ParquetFile, at: Sequence[int]) -> Iterator[Row]:
    """The rows at these positions (ascending), from their row groups only."""
    first = 0
    for group in range(file.num_row_groups):
        size = file.metadata.row_group(group).num_rows
        here = [i - first for i in at if first <= i < first + size]
        if here:
            yield from current(file.read_row_group(group)).take(pa.array(here)).to_pylist()
        first += size


def _of_dataset(dataset: Dataset, choice: Choice, where: str) -> Samples:
    columns = pa.concat_tables([c.table for c in dataset.chunks(["record_id", "split"])])
    splits = columns["split"].to_pylist()
    meant = [i for i, split in enumerate(splits) if choice.split in (None, split)]
    ids = columns["record_id"].take(pa.array(meant, pa.int64())).to_pylist()
    at = sorted(meant[i] for i in _chosen(ids, choice))
    rows: list[Row] = dataset.at(np.array(at, np.int64)).to_pylist()
    return Samples(where, len(meant), tuple(Sample(r["record_id"], r) for r in rows))


def _chosen(ids: Sequence[str], choice: Choice) -> list[int]:
    """Positions: the first ones, or those whose ids hash lowest, in any order of the rows the same."""
    if choice.seed is None:
        return list(range(min(len(ids), choice.rows)))
    return sorted(range(len(ids)), key=lambda i: hash64(choice.seed or 0, ids[i]))[: choice.rows]


def _without_text(found: Samples) -> Samples:
    return Samples(found.where, found.of, tuple(Sample(s.record_id, None, s.why) for s in found.samples))
