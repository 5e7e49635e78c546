"""Rows of a dataset version as a memory-mapped Arrow file of token ids and labels, linted on the way."""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from steps.contracts.dataset import Dataset
from steps.contracts.errors import TrainingDataError
from steps.contracts.ledger import LedgerWriter
from steps.contracts.records import Row
from steps.contracts.reports import Example, Histogram
from steps.contracts.storage import writing
from steps.engines.progress.progress import Progress
from steps.engines.template.lint import Lint, LintTotals
from steps.engines.template.render import ChatTemplate, Encoded
from steps.train.phase_rows import PhaseRows
from steps.train.settings import TrainSettings

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerBase

Refusal = Callable[[Row], str | None]
TOKENS_SCHEMA = pa.schema(
    [
        pa.field("input_ids", pa.list_(pa.int32()), nullable=False),
        # input id where the token is trained, else -100
        pa.field("labels", pa.list_(pa.int32()), nullable=False),
        pa.field("length", pa.int32(), nullable=False),
    ]
)
_BATCH_ROWS = 1_000
# content_id and record_id are 16 bytes each.
_KEY_BYTES = 32
_EXAMPLES = 5


@dataclass
class Encoding:
    """What became of the rows of one split."""

    rows_in: int = 0
    kept: int = 0
    sequences: int = 0
    truncated: int = 0
    tokens: int = 0
    trained: int = 0
    longest: int = 0
    dropped_by: dict[str, int] = field(default_factory=dict)
    lengths: list[int] = field(default_factory=lambda: [0] * 21)
    examples: list[Example] = field(default_factory=list)
    lint: LintTotals = field(default_factory=LintTotals)

    @property
    def dropped(self) -> int:
        """Rows that are not trained on."""
        return sum(self.dropped_by.values())

    def length_histogram(self, title: str) -> Histogram:
        """Tokens per kept row, in powers of two: bin i holds lengths in [2**i, 2**(i+1))."""
        top = max((i for i, n in enumerate(self.lengths) if n), default=0) + 1
        edges = tuple(float(1 << i) for i in range(top + 1))
        return Histogram(title=title, unit="tokens", edges=edges, counts=tuple(self.lengths[:top]))


def split_name(dataset: Dataset, wanted: str) -> str | None:
    """The split label to read: `wanted`, or None (every row) for "train" in a version without any labels.

    Raises:
        TrainingDataError: the split has no rows.
    """
    splits = dataset.manifest.splits
    if splits.get(wanted):
        return wanted
    if wanted == "train" and set(splits) <= {""} and dataset.rows:
        return None
    raise TrainingDataError(
        f"no rows in split {wanted}: the dataset has {splits or 'no rows'}",
        where="train",
        hint="check the split stage's shares, and what the stages after it dropped",
    )


def rows_of(dataset: Dataset, wanted: PhaseRows) -> Dataset:
    """The rows of the sources and kinds that a phase names, of all splits; nothing is stored, the digest stays.

    Raises:
        TrainingDataError: a source has no rows.
    """
    if wanted.all:
        return dataset
    masks, seen = [], set[str]()
    for table in dataset.tables(["source", "kind"]):
        masks.append(_chosen(table, wanted))
        seen.update(pc.unique(_source_names(table)).to_pylist())
    missing = sorted(set(wanted.sources) - seen)
    if missing:
        raise TrainingDataError(
            f"no rows of source {', '.join(missing)}: the dataset has {', '.join(sorted(seen))}",
            where="train.rows.sources",
        )
    return dataset.view(np.concatenate(masks))


def _source_names(table: pa.Table) -> Any:
    """A row's source without the path below it, which is the name that ingest gives it."""
    return pc.list_element(pc.split_pattern(table["source"], "/", max_splits=1), 0)


def _chosen(table: pa.Table, wanted: PhaseRows) -> Any:
    """Shape (rows,)."""
    keep = np.ones(table.num_rows, bool)
    if wanted.sources:
        keep &= np.asarray(pc.is_in(_source_names(table), pa.array(wanted.sources)))
    if wanted.kinds:
        keep &= np.asarray(pc.is_in(table["kind"], pa.array(wanted.kinds)))
    return keep


class _Encoder:
    """Judges rows, writes tokens, ledger lines and counts."""

    def __init__(self, lint: Lint, config: TrainSettings, refusal: Refusal, ledger: LedgerWriter | None) -> None:
        self.lint, self.config, self.refusal, self.ledger = lint, config, refusal, ledger
        self.result = Encoding(lint=lint.totals)

    def encode(self, row: Row) -> list[Encoded]:
        """The row's sequences within max_length; none when it is dropped."""
        self.result.rows_in += 1
        refused = self.refusal(row)
        if refused is not None:
            self._drop(row, refused, {})
            return []
        linted = self.lint.check(row)
        if not linted.encoded:
            if self.config.unusable_rows == "fail":
                self.lint.require(max_unusable_share=0.0)
            self._drop(row, linted.reason or "", {"detail": linted.detail} if linted.detail else {})
            return []
        encoded = self._fit(row, linted.encoded)
        if encoded:
            self._count(encoded)
        return encoded

    def _fit(self, row: Row, sequences: Sequence[Encoded]) -> list[Encoded]:
        """The sequences that fit, cut where that is wanted; a row whose sequences are all too long is dropped."""
        limit = self.config.max_length
        longest = max(len(e.input_ids) for e in sequences)
        if longest <= limit:
            return list(sequences)
        evidence = {"tokens": longest, "max_length": limit}
        if self.config.overlong == "fail":
            raise TrainingDataError(
                f"a row has {longest} tokens, max_length is {limit}",
                where=f"row {row['record_id']}",
                hint="raise max_length, or set overlong to drop or truncate",
            )
        if self.config.overlong == "drop":
            kept, reason, lost = [e for e in sequences if len(e.input_ids) <= limit], "overlong", "overlong_turns"
        else:
            cut = (Encoded(e.input_ids[:limit], e.labels[:limit]) for e in sequences)
            kept, reason, lost = [e for e in cut if e.trained], "overlong_prompt", "truncated"
        if not kept:
            self._drop(row, reason, evidence)
            return []
        self.result.truncated += 1
        if len(sequences) > 1:
            evidence |= {"sequences": len(sequences), "kept": len(kept)}
        if self.ledger:
            self.ledger.add(row["record_id"], "changed", lost, evidence=evidence)
        return kept

    def _count(self, encoded: list[Encoded]) -> None:
        r = self.result
        r.kept += 1
        r.sequences += len(encoded)
        for e in encoded:
            n = len(e.input_ids)
            r.tokens += n
            r.trained += e.trained
            r.longest = max(r.longest, n)
            r.lengths[min(n.bit_length() - 1, len(r.lengths) - 1)] += 1

    def _drop(self, row: Row, reason: str, evidence: dict[str, Any]) -> None:
        r = self.result
        r.dropped_by[reason] = r.dropped_by.get(reason, 0) + 1
        if len(r.examples) < _EXAMPLES:
            r.examples.append(Example(record_id=row["record_id"], reason=reason, text="", evidence=evidence))
        if self.ledger:
            self.ledger.add(row["record_id"], "dropped", reason, evidence=evidence)


def write_tokens(
    dataset: Dataset,
    split: str | None,
    tokenizer: "PreTrainedTokenizerBase",
    template: ChatTemplate,
    config: TrainSettings,
    path: Path,
    refusal: Refusal,
    ledger: LedgerWriter | None = None,
    limit: int | None = None,
) -> tuple["datasets.Dataset", Encoding]:
    """Encode one split into an Arrow file and map it.

    The returned sequences are in the order of their rows' content ids, so that training doesn't depend on the order or
    sharding of the version. In memory: one row group, and 40 bytes per row for the order.

    Args:
        refusal: why a row can't be used at all (a reason code); None: it is encoded.
        limit: use the rows with the smallest content ids only; None: all.

    Raises:
        TrainingDataError: no usable row, or more unusable rows than the config allows.
    """
    lint = Lint(tokenizer, template, check_control_tokens=not config.allow_control_tokens)
    encoder = _Encoder(lint, config, refusal, ledger)
    wanted = _smallest_ids(dataset, split, limit)
    keys = bytearray()
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, TOKENS_SCHEMA) as out:
            batch: list[Encoded] = []
            with Progress(f"tokens ({split or 'all rows'})", dataset.manifest.splits.get(split or "")) as progress:
                for row in dataset.iter_rows(split):
                    progress.advance()
                    if wanted is not None and row["content_id"] not in wanted:
                        continue
                    encoded = encoder.encode(row)
                    batch += encoded
                    keys += _order_key(row) * len(encoded)
                    if len(batch) >= _BATCH_ROWS:
                        out.write_batch(_record_batch(batch))
                        batch = []
            if batch:
                out.write_batch(_record_batch(batch))
    _require_rows(encoder, config)
    return _map(path, keys), encoder.result


def _order_key(row: Row) -> bytes:
    return bytes.fromhex(row["content_id"] + row["record_id"])


def _smallest_ids(dataset: Dataset, split: str | None, limit: int | None) -> frozenset[str] | None:
    if limit is None:
        return None
    tables = dataset.tables(["content_id"], split=split)
    return frozenset(heapq.nsmallest(limit, (c for t in tables for c in t["content_id"].to_pylist())))


def _record_batch(rows: list[Encoded]) -> pa.RecordBatch:
    return pa.record_batch(
        [
            pa.array([r.input_ids for r in rows], pa.list_(pa.int32())),
            pa.array([r.labels for r in rows], pa.list_(pa.int32())),
            pa.array([len(r.input_ids) for r in rows], pa.int32()),
        ],
        schema=TOKENS_SCHEMA,
    )


def _require_rows(encoder: _Encoder, config: TrainSettings) -> None:
    result = encoder.result
    if encoder.lint.totals.rows:
        encoder.lint.require(max_unusable_share=config.max_unusable_share)
    if not result.kept:
        raise TrainingDataError(
            f"no row is left to train on: {result.rows_in} read, dropped by {result.dropped_by}",
            where="train",
            hint="raise max_length for overlong rows; set objective.preference_as: chosen for preference rows",
        )


def _map(path: Path, keys: bytearray) -> "datasets.Dataset":
    import datasets

    order = np.argsort(np.frombuffer(bytes(keys), dtype=f"S{_KEY_BYTES}"), kind="stable")
    return datasets.Dataset.from_file(str(path)).select(order)
