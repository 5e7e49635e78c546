"""Rows of a dataset version as files of one format: a folder per form of row, a file per split."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, Protocol, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from steps.contracts.dataset import Dataset
from steps.contracts.digests import canonical_json, file_digest
from steps.contracts.records import Row, Split
from steps.contracts.reports import Frozen
from steps.contracts.thinking import THINK_TAG
from steps.engines.formats.prompts import INPUT_AT
from steps.engines.formats.registry import FORMATS
from steps.engines.formats.rejected import RowRejected
from steps.engines.formats.training_rows import Form, form_of, training_row

Fields: TypeAlias = Mapping[Form, Sequence[str]]
Target: TypeAlias = Literal["openai", "sharegpt", "alpaca", "jsonl", "parquet", "hub"]
# Rows without a label: all of them are train where no row has one.
UNSPLIT = "unsplit"
# Of meta what says how a row is written: where Alpaca's `input` starts, and the tag that reasoning stands in.
_STRUCTURE = (INPUT_AT, THINK_TAG)
# Chosen: rows that are turned into columns at once, and the bytes behind which another Parquet file begins (the hub
# recommends files below 500 MB).
_GROUP_ROWS = 2_048
_FILE_BYTES = 256 << 20
# Fields of a message that are columns only where a row of the version has them: name in a record, name in a file.
_OPTIONAL = {
    "name": "name", "reasoning": "reasoning_content", "tool_calls": "tool_calls", "tool_call_id": "tool_call_id",
    "weight": "weight",
}  # fmt: skip


class ExportedFile(Frozen):
    """One file of an export; `path` is relative to the folder, with slashes."""

    path: str
    form: Form
    split: str
    rows: int
    bytes: int
    sha256: str


@dataclass
class Written:
    """What was written.

    Attributes:
        fields: per form the columns that not every version needs and this one has.
        refused: rows that the format can't express, per reason.
    """

    fields: Fields
    refused: Counter[str] = field(default_factory=Counter)


def write_files(dataset: Dataset, to: Target, folder: Path, splits: Sequence[Split], refused: IO[str]) -> Written:
    """Write the rows of these splits (none named: all) below `folder`, in the version's order.

    What the format can't express goes as a line into `refused`: record id, split, reason and hint, no text.
    """
    done = Written(_fields(dataset))
    unlabelled = UNSPLIT if any(dataset.manifest.splits.keys() - {""}) else "train"
    sink = _Sink(to, folder, done.fields)
    write = _WRITERS[to]
    try:
        for row in _rows(dataset, splits):
            try:
                made = write(row)
            except RowRejected as e:
                done.refused[e.reason] += 1
                line = {"record_id": row["record_id"], "split": row["split"], "reason": e.reason, "hint": e.hint}
                refused.write(json.dumps(line, ensure_ascii=False) + "\n")
                continue
            sink.add(form_of(row), row["split"] or unlabelled, made)
    finally:
        sink.close()
    return done


def files_of(folder: Path) -> tuple[ExportedFile, ...]:
    """The files that `write_files` has written below a folder."""
    paths = sorted(p for p in folder.glob("*/*") if p.is_file())
    return tuple(_exported(p, folder) for p in paths)


def _exported(path: Path, folder: Path) -> ExportedFile:
    if path.suffix == ".parquet":
        rows = pq.read_metadata(path).num_rows
    else:
        with path.open("rb") as file:
            rows = sum(1 for _ in file)
    return ExportedFile(
        path=path.relative_to(folder).as_posix(),
        form=path.parent.name,  # type: ignore[arg-type]  # pydantic checks it
        split=path.name.split(".")[0].split("-")[0],
        rows=rows,
        bytes=path.stat().st_size,
        sha256=file_digest(path),
    )


def _rows(dataset: Dataset, splits: Sequence[Split]) -> Iterator[Row]:
    for table in dataset.tables():
        wanted = table.filter(pc.is_in(table["split"], pa.array(splits, pa.string()))) if splits else table
        yield from wanted.to_pylist()


# --- one row ---


def _openai(row: Row) -> Row:
    if row["kind"] == "document":
        raise RowRejected("document_not_expressible", "a document has no place in a chat format")
    return training_row(row)


def _traced(row: Row) -> Row:
    out = {**training_row(row), "record_id": row["record_id"]}
    return out if row["meta"] == "{}" else {**out, "meta": row["meta"]}


def _chat(name: str) -> Callable[[Row], Row]:
    def write(row: Row) -> Row:
        meta = json.loads(row["meta"])
        bare = {**row, "meta": canonical_json({k: meta[k] for k in _STRUCTURE if k in meta})}
        found = FORMATS[name].write
        assert found is not None, "a target is a format that is written"
        return {k: v for k, v in found(bare).items() if k not in _STRUCTURE}

    return write


_WRITERS: dict[Target, Callable[[Row], Row]] = {
    "openai": _openai, "sharegpt": _chat("sharegpt"), "alpaca": _chat("alpaca"), "jsonl": _traced, "parquet": _traced,
    "hub": _traced,
}  # fmt: skip


# --- files ---


class _File(Protocol):
    def add(self, row: Row) -> None: ...

    def close(self) -> None: ...


class _Sink:
    """Sends rows to the file of their form and split."""

    def __init__(self, to: Target, folder: Path, fields: Fields) -> None:
        self._to, self._folder, self._fields = to, folder, fields
        self._open: dict[tuple[Form, str], _File] = {}

    def add(self, form: Form, split: str, row: Row) -> None:
        if (form, split) not in self._open:
            stem = self._folder / form / split
            stem.parent.mkdir(parents=True, exist_ok=True)
            schema = schema_of(self._to, form, self._fields[form])
            columnar = self._to in ("parquet", "hub")
            self._open[form, split] = _ParquetFiles(stem, schema) if columnar else _JsonLines(stem)
        self._open[form, split].add(row)

    def close(self) -> None:
        for file in self._open.values():
            file.close()


class _JsonLines:
    def __init__(self, stem: Path) -> None:
        self._file = stem.with_name(f"{stem.name}.jsonl").open("w", encoding="utf-8")

    def add(self, row: Row) -> None:
        self._file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def close(self) -> None:
        self._file.close()


class _ParquetFiles:
    """`STEM-00000.parquet` and so on."""

    def __init__(self, stem: Path, schema: pa.Schema) -> None:
        self._stem, self._schema, self._stored = stem, schema, _as_stored(schema)
        self._number = 0
        self._path = stem
        self._writer: pq.ParquetWriter | None = None
        self._rows: list[Row] = []

    def add(self, row: Row) -> None:
        self._rows.append(_as_text(row))
        if len(self._rows) >= _GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        if self._writer is None:
            self._path = self._stem.with_name(f"{self._stem.name}-{self._number:05}.parquet")
            self._writer = pq.ParquetWriter(self._path, self._schema, compression="zstd", write_page_checksum=True)
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._stored).cast(self._schema))
        self._rows = []
        if self._path.stat().st_size > _FILE_BYTES:
            self._end()

    def _end(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer, self._number = None, self._number + 1

    def close(self) -> None:
        self._flush()
        self._end()


def _as_text(row: Row) -> Row:
    """The row with its tools as JSON text; arguments of calls are text already."""
    return {**row, "tools": canonical_json(row["tools"])} if "tools" in row else row


def _fields(dataset: Dataset) -> Fields:
    """Per form which of the columns that not every version needs this one has: fields of messages, tools, meta."""
    found: dict[Form, set[str]] = {}
    for table in dataset.tables(["kind", "messages", "chosen", "rejected", "tools", "meta"]):
        for kind in table["kind"].unique().to_pylist():
            rows = table.filter(pc.equal(table["kind"], kind))
            found.setdefault(form_of({"kind": kind}), set()).update(_fields_of(rows))
    return {form: tuple(sorted(names)) for form, names in found.items()}


def _fields_of(rows: pa.Table) -> Iterator[str]:
    for side in ("messages", "chosen", "rejected"):
        messages = pc.list_flatten(rows[side])
        yield from (name for name in _OPTIONAL if _any(pc.struct_field(messages, name)))
    if _any(rows["tools"]):
        yield "tools"
    if pc.any(pc.not_equal(rows["meta"], "{}")).as_py():
        yield "meta"


def _any(column: Any) -> bool:
    return bool(column.null_count < len(column))


def schema_of(to: Target, form: Form, fields: Sequence[str]) -> pa.Schema:
    """Columns of a file. JSON is text in Parquet and values in JSON Lines; `datasets` reads both as values."""
    columnar = to in ("parquet", "hub")
    tools = [("tools", pa.json_() if columnar else pa.list_(pa.json_()))] if "tools" in fields else []
    label = [("label", pa.bool_())] if form == "unpaired" else []
    if to in ("sharegpt", "alpaca"):
        columns = _alpaca_columns(form) if to == "alpaca" else _sharegpt_columns(form, fields)
        return pa.schema([*columns, *label])
    call = _call(pa.json_() if columnar else pa.string())
    kinds = {"tool_calls": pa.list_(call), "weight": pa.int8()}
    names = [(new, kinds.get(new, pa.string())) for old, new in _OPTIONAL.items() if old in fields]
    messages = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string()), *names]))
    own: dict[Form, list[tuple[str, pa.DataType]]] = {
        "conversations": [("messages", messages)],
        "preferences": [("prompt", messages), ("chosen", messages), ("rejected", messages)],
        "unpaired": [("prompt", messages), ("completion", messages), *label],
        "documents": [("text", pa.string())],
    }
    traced = (
        [] if to == "openai" else [("record_id", pa.string()), *(("meta", pa.string()) for f in fields if f == "meta")]
    )
    return pa.schema([*own[form], *([] if form == "documents" else tools), *traced])


def _alpaca_columns(form: Form) -> list[tuple[str, pa.DataType]]:
    answers = ("chosen", "rejected") if form == "preferences" else ("output",)
    texts = [(name, pa.string()) for name in ("instruction", "input", *answers, "system")]
    return [*texts, ("history", pa.list_(pa.list_(pa.string())))]


def _sharegpt_columns(form: Form, fields: Sequence[str]) -> list[tuple[str, pa.DataType]]:
    text = [(name, pa.string()) for name in ("from", "value", "tool_call_id")]
    turn = pa.struct([*text, ("weight", pa.int8())] if "weight" in fields else text)
    sides = [("chosen", turn), ("rejected", turn)] if form == "preferences" else []
    tools = [("tools", pa.string())] if "tools" in fields else []
    return [("conversations", pa.list_(turn)), *sides, *tools]


def _call(arguments: pa.DataType) -> pa.StructType:
    function = pa.struct([("name", pa.string()), ("arguments", arguments)])
    return pa.struct([("id", pa.string()), ("type", pa.string()), ("function", function)])


def _as_stored(schema: pa.Schema) -> pa.Schema:
    """The same with text for JSON: rows can't be turned into JSON columns directly."""
    return pa.schema([(f.name, _text_for_json(f.type)) for f in schema])


def _text_for_json(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.JsonType):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_text_for_json(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(f.name, _text_for_json(f.type)) for f in kind])
    return kind
