"""Rows of a dataset version as a memory-mapped Arrow file of token ids and labels, linted on the way."""

import gc
import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from steps.contracts.arrays import Numbers
from steps.contracts.dataset import Dataset
from steps.contracts.digests import text_digest
from steps.contracts.errors import TrainingDataError
from steps.contracts.execution import Work
from steps.contracts.ledger import LedgerWriter
from steps.contracts.records import KINDS, Row
from steps.contracts.reports import Example, Histogram
from steps.contracts.storage import writing
from steps.engines.progress.progress import Progress
from steps.engines.template.labelled import Labelled
from steps.engines.template.lint import Judge, Linted, LintTotals
from steps.engines.template.render import ChatTemplate, chat_template
from steps.engines.tokens.encode import MANY
from steps.train.mixture import LEFT_OUT, Mixture, Origins, hash_of, source_names
from steps.train.phase_rows import PhaseRows
from steps.train.row_batches import Refusal, RowBatch, judged, wanted_tables
from steps.train.row_form import TURNS, Kept, RowForm
from steps.train.rows_to_encode import RowsToEncode
from steps.train.settings import TrainSettings
from steps.train.token_cache import Means, cached_tokens

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerBase

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
    # sequences by what is said of their answer; only where that is trained
    answers: dict[str, int] = field(default_factory=dict)
    lengths: list[int] = field(default_factory=lambda: [0] * 21)
    examples: list[Example] = field(default_factory=list)
    lint: LintTotals = field(default_factory=LintTotals)
    # content id and record id of each sequence's row, 32 bytes each, in the order of the sequences
    order: bytes = b""
    # tokens of rows that are mixed in against forgetting
    replayed: int = 0
    notes: list[str] = field(default_factory=list)

    def record_id(self, sequence: int) -> str:
        """Id of the row that a sequence is of; "" where nobody noted it."""
        end = _KEY_BYTES * (sequence + 1)
        return self.order[end - _KEY_BYTES // 2 : end].hex()

    def content_ids(self) -> list[str]:
        """Half of the content id of each sequence's row, in hex; empty when nobody noted them."""
        return [self.order[at : at + _KEY_BYTES // 4].hex() for at in range(0, len(self.order), _KEY_BYTES)]

    origins: Origins | None = field(default=None, compare=False)

    def mixed(self, mixture: Mixture) -> Numbers | None:
        """Places of the sequences as an epoch sees them, in which order `order` has them from now on; None: as they
        are. What the mixture left out before is counted.
        """
        if mixture.left_out:
            self.rows_in += mixture.left_out
            self.dropped_by[LEFT_OUT] = mixture.left_out
        if self.origins is None or not mixture.times:
            return None
        places = np.repeat(np.arange(len(self.origins.codes)), self.origins.repeats(mixture))
        self.order = np.frombuffer(self.order, f"S{_KEY_BYTES}")[places].tobytes()
        return places

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
        seen.update(pc.unique(source_names(table)).to_pylist())
    missing = sorted(set(wanted.sources) - seen)
    if missing:
        raise TrainingDataError(
            f"no rows of source {', '.join(missing)}: the dataset has {', '.join(sorted(seen))}",
            where="train.rows.sources",
        )
    return dataset.view(np.concatenate(masks))


def _chosen(table: pa.Table, wanted: PhaseRows) -> Any:
    """Shape (rows,)."""
    keep = np.ones(table.num_rows, bool)
    if wanted.sources:
        keep &= np.asarray(pc.is_in(source_names(table), pa.array(wanted.sources)))
    if wanted.kinds:
        keep &= np.asarray(pc.is_in(table["kind"], pa.array(wanted.kinds)))
    return keep


class _Counter:
    """Counts judged rows, cuts or drops what is too long, writes ledger lines."""

    def __init__(self, config: TrainSettings, form: RowForm, ledger: LedgerWriter | None) -> None:
        self.config, self.form, self.ledger = config, form, ledger
        self.result = Encoding()

    def refused(self, row: Row, reason: str) -> None:
        """Count a row that can't be used at all."""
        self.result.rows_in += 1
        self._drop(row, reason, {})

    def kept(self, row: Row, linted: Linted) -> Kept | None:
        """Count a row; returns its sequences within max_length, None when it is dropped."""
        self.result.rows_in += 1
        self.result.lint.count(linted, row["record_id"])
        if not linted.sequences:
            if self.config.unusable_rows == "fail":
                self.result.lint.require(max_unusable_share=0.0)
            self._drop(row, linted.reason or "", {"detail": linted.detail} if linted.detail else {})
            return None
        kept = self._fit(row, linted.sequences)
        if kept is not None:
            self._count(kept)
        return kept

    def _fit(self, row: Row, sequences: Sequence[Labelled]) -> Kept | None:
        """The sequences that fit, cut where that is wanted; a row whose sequences are all too long is dropped."""
        limit = self.config.max_length
        longest = max(len(s.input_ids) for s in sequences)
        if longest <= limit:
            return Kept(row, tuple(enumerate(sequences)))
        evidence = {"tokens": longest, "max_length": limit}
        if self.config.overlong == "fail":
            raise TrainingDataError(
                f"a row has {longest} tokens, max_length is {limit}",
                where=f"row {row['record_id']}",
                hint="raise max_length, or set overlong to drop or truncate",
            )
        lost = "overlong_turns" if self.config.overlong == "drop" else "truncated"
        if self.config.overlong == "drop":
            kept = [(n, s) for n, s in enumerate(sequences) if len(s.input_ids) <= limit]
        else:
            kept = [(n, s) for n, s in enumerate(s.cut(limit) for s in sequences) if s.trained]
        reason = self.form.unfit(sequences, kept, limit, self.config.overlong)
        if reason is not None:
            self._drop(row, reason, evidence)
            return None
        self.result.truncated += 1
        if len(sequences) > 1:
            evidence |= {"sequences": len(sequences), "kept": len(kept)}
        if self.ledger:
            self.ledger.add(row["record_id"], "changed", lost, evidence=evidence)
        return Kept(row, tuple(kept))

    def _count(self, kept: Kept) -> None:
        r = self.result
        r.kept += 1
        r.sequences += len(self.form.keys(kept))
        for answer in self.form.answers(kept):
            r.answers[answer] = r.answers.get(answer, 0) + 1
        for _, s in kept.sequences:
            n = len(s.input_ids)
            r.tokens += n
            r.trained += s.trained
            r.longest = max(r.longest, n)
            r.lengths[min(n.bit_length() - 1, len(r.lengths) - 1)] += 1

    def _drop(self, row: Row, reason: str, evidence: dict[str, Any]) -> None:
        r = self.result
        r.dropped_by[reason] = r.dropped_by.get(reason, 0) + 1
        if len(r.examples) < _EXAMPLES:
            r.examples.append(Example(record_id=row["record_id"], reason=reason, text="", evidence=evidence))
        if self.ledger:
            self.ledger.add(row["record_id"], "dropped", reason, evidence=evidence)


def write_tokens(given: RowsToEncode, refusal: Refusal, form: RowForm = TURNS) -> tuple["datasets.Dataset", Encoding]:
    """Encode one split into an Arrow file and map it.

    The returned sequences are in the order of their rows' content ids, so that training doesn't depend on the order or
    sharding of the version. In memory: one row group, and 40 bytes per row for the order.

    Args:
        refusal: why a row can't be used at all (a reason code); None: it is encoded. It is given the kind and the
            label of a row.
        form: what the file holds of a row.

    Raises:
        TrainingDataError: no usable row, or more unusable rows than the config allows.
    """
    dataset, split, limit, config, path = given.dataset, given.split, given.limit, given.settings, given.path
    rows = dataset.rows if split is None else dataset.manifest.splits.get(split, 0)
    many = min(rows, rows if limit is None else limit) >= MANY
    template = chat_template(given.tokenizer, given.template)
    settings = _JudgeSettings(given.tokenizer, template, not config.allow_control_tokens, many, form)
    work = Work(_judging_elsewhere, settings, "tokens")
    counter, order = _Counter(config, form, given.ledger), _Order(form)
    means = given.means or Means()
    where = means.executor
    tables = wanted_tables(dataset, split, limit, refusal, form.columns)
    with writing(path), _old_objects_left_alone():
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            pa.OSFile(str(path), "wb") as sink,
            pa.ipc.new_stream(sink, form.schema) as out,
            where.open(work, _judging(settings)) as pool,
            cached_tokens(means, path.stem, settings.origin) as cached,
            Progress(f"tokens ({split or 'all rows'})", dataset.manifest.splits.get(split or "")) as progress,
        ):
            for batch, found in judged(tables, refusal, cached, pool, where.batch_rows):
                kept = _counted(batch, found, counter, order)
                progress.advance(len(batch.rows))
                if kept:
                    out.write_batch(form.batch(kept))
    _require_rows(counter.result, config)
    rows, counter.result.order, counter.result.origins = order.mapped(path)
    return rows, counter.result


@contextmanager
def _old_objects_left_alone() -> Iterator[None]:
    """What is there already isn't looked through for garbage: libraries hold half a million objects, and Python would
    look at each again every 10,000 to 20,000 rows (measured: up to a tenth of the time).
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@dataclass(frozen=True, eq=False)
class _JudgeSettings:
    """What decides over a row's tokens besides the row."""

    tokenizer: "PreTrainedTokenizerBase"
    template: ChatTemplate
    check_control_tokens: bool
    many: bool
    form: RowForm = TURNS

    @property
    def origin(self) -> list[Any]:
        """The same as JSON values."""
        tokenizer, template = self.tokenizer, self.template
        whole = text_digest(tokenizer.backend_tokenizer.to_str()) if tokenizer.is_fast else ""
        special = {name: str(token) for name, token in template.special.items()}
        return [
            whole,
            special,
            list(template.texts),
            template.config.model_dump(mode="json"),
            self.check_control_tokens,
            self.form.name,
        ]


def _judging_elsewhere(settings: _JudgeSettings) -> Callable[[pa.Table], list[Linted]]:
    """In a process of its own, which is one of as many as there are cores."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    return _judging(settings)


def _judging(settings: _JudgeSettings) -> Callable[[pa.Table], list[Linted]]:
    judge = Judge(
        settings.tokenizer,
        settings.template,
        check_control_tokens=settings.check_control_tokens,
        many=settings.many,
    )
    return lambda table: settings.form.judged(judge, table.to_pylist())


def _counted(batch: RowBatch, linted: Sequence[Linted], counter: _Counter, order: "_Order") -> list[Kept]:
    """The batch's rows that can be used; where what is written of them belongs goes to `order`."""
    judged, found = iter(linted), list[Kept]()
    for row, reason in zip(batch.rows, batch.refusals, strict=True):
        if reason is not None:
            counter.refused(row, reason)
            continue
        kept = counter.kept(row, next(judged))
        if kept is not None:
            found.append(kept)
            order.add(kept)
    return found


class _Order:
    """Where the rows of a file belong, and come from, in the order in which they were written."""

    def __init__(self, form: RowForm) -> None:
        self._form, self._keys, self._names = form, bytearray(), dict[str, int]()
        self._codes, self._hashes, self._trained = array("i"), array("Q"), array("d")

    def add(self, kept: Kept) -> None:
        """All that the file has of a row was written."""
        keys = self._form.keys(kept)
        code = self._names.setdefault(kept.row["source"].partition("/")[0], len(self._names))
        self._keys += b"".join(keys)
        self._codes.extend([code] * len(keys))
        self._hashes.extend([hash_of(kept.row["content_id"])] * len(keys))
        self._trained.extend([sum(s.trained for _, s in kept.sequences) / max(len(keys), 1)] * len(keys))

    def mapped(self, path: Path) -> tuple["datasets.Dataset", bytes, Origins]:
        """The file's rows by their keys, those keys, and the origins of both."""
        import datasets

        keys = np.frombuffer(bytes(self._keys), dtype=f"S{_KEY_BYTES}")
        order = np.argsort(keys, kind="stable")
        codes, hashes = np.asarray(self._codes, np.int32)[order], np.asarray(self._hashes, np.uint64)[order]
        origins = Origins(tuple(self._names), codes, hashes, np.asarray(self._trained)[order])
        return datasets.Dataset.from_file(str(path)).select(order), keys[order].tobytes(), origins


def _require_rows(result: Encoding, config: TrainSettings) -> None:
    if result.lint.rows:
        result.lint.require(max_unusable_share=config.max_unusable_share)
    if not result.kept:
        raise TrainingDataError(
            f"no row is left to train on: {result.rows_in} read, dropped by {result.dropped_by}",
            where="train",
            hint="; ".join(_ways_out(result)),
        )


def _ways_out(result: Encoding) -> Iterator[str]:
    """What to set so that rows that were dropped are used."""
    if any(reason.startswith("overlong") for reason in result.dropped_by):
        yield "raise max_length for overlong rows"
    for kind in (k for k in KINDS if k in result.dropped_by):
        yield f"rows of kind {kind} are for another objective.kind; `assay validate` names those that take them"
