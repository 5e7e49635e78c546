"""Documents, and rows that are replayed beside them, as a memory-mapped Arrow file of token ids and labels.

Every token of a document is trained: its text behind the BOS token where the tokenizer writes one, and the token that
ends it. A document that is longer than max_length becomes several pieces; nothing of it is lost.
"""

import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from steps.contracts.dataset import Dataset
from steps.contracts.digests import text_digest
from steps.contracts.errors import ConfigError, TrainingDataError
from steps.contracts.execution import Work
from steps.contracts.ledger import LedgerWriter
from steps.contracts.records import Row
from steps.contracts.reports import Example
from steps.contracts.storage import writing
from steps.engines.progress.progress import Progress
from steps.engines.template.config import TemplateConfig
from steps.engines.template.labelled import Labelled
from steps.engines.template.lint import Judge, Linted
from steps.engines.template.render import IGNORED, bos_text, chat_template
from steps.engines.tokens.encode import MANY, Encoder
from steps.train.encoding import Encoding
from steps.train.mixture import Origins
from steps.train.row_batches import BATCH_ROWS, RowBatch, judged, wanted_tables
from steps.train.row_form import TOKENS, order_key, token_lists
from steps.train.rows_to_encode import RowsToEncode
from steps.train.settings import TrainSettings
from steps.train.token_cache import Means, cached_tokens

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerBase

Int32s = npt.NDArray[np.int32]
PIECES_SCHEMA = pa.schema(
    [
        pa.field("input_ids", TOKENS, nullable=False),
        pa.field("labels", TOKENS, nullable=False),
        pa.field("length", pa.int32(), nullable=False),
        pa.field("replay", pa.bool_(), nullable=False),
    ]
)
_COLUMNS = ("record_id", "content_id", "source", "kind", "messages", "tools", "chosen", "text", "label", "meta")
_EXAMPLES = 5
# Of a record's id, which ends its key.
_ID_BYTES = 16


@dataclass(frozen=True)
class Wanted:
    """What an objective wants of rows.

    Attributes:
        refusal: why a row can't be used at all; None: it can.
        replays: whether a row of that source and kind is mixed in against forgetting; share: of all tokens, 0: none.
        end_token: what ends a document; None: the tokenizer's EOS.
        measured: rows are only measured, so that all that could be replayed are taken.
    """

    refusal: Callable[[Row], str | None]
    replays: Callable[[str, str], bool]
    share: float
    end_token: str | None
    measured: bool = False


def write_pieces(given: RowsToEncode, wanted: Wanted) -> tuple["datasets.Dataset", Encoding]:
    """Encode one split; pieces are in the order of their rows' content ids, those of a row one after the other.

    In memory: one batch, and some 100 bytes per row. Tokens are on disk twice until the file is whole.

    Raises:
        TrainingDataError: no document, or more unusable rows than the settings allow.
        ConfigError: no token ends a document.
    """
    import datasets

    dataset, limit, settings, path = given.dataset, given.limit, given.settings, given.path
    tally = _Tally(settings, given.ledger)
    many = min(dataset.rows, dataset.rows if limit is None else limit) >= MANY
    end = end_token(given.tokenizer, wanted.end_token)
    how = _How(given.tokenizer, given.template, end, not settings.allow_control_tokens, many)
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path), _Spool(path.with_suffix(".spool")) as spool:
        _spool(dataset, given.split, limit, how, wanted, given.means or Means(), path.stem, tally, spool)
        _require_documents(tally.result, spool, wanted, settings)
        _write(spool, settings, wanted, tally, path)
    _note(tally.result, given.tokenizer, end, wanted)
    return datasets.Dataset.from_file(str(path)), tally.result


def end_token(tokenizer: "PreTrainedTokenizerBase", wanted: str | None) -> int:
    """The id of the token that ends a document.

    Raises:
        ConfigError: the tokenizer has no such token, or no EOS.
    """
    name = wanted or tokenizer.eos_token
    if name is None:
        raise ConfigError(
            "the tokenizer has no EOS token to end a document with", where="train.objective.end_token",
            hint=f"name one of its tokens: {_some(tokenizer)}",
        )  # fmt: skip
    found = tokenizer.get_vocab().get(str(name))
    if found is None:
        raise ConfigError(
            f"the tokenizer has no token {name!r}", where="train.objective.end_token",
            hint=f"its special tokens are {_some(tokenizer)}",
        )  # fmt: skip
    return int(found)


def _some(tokenizer: "PreTrainedTokenizerBase") -> str:
    names = [t.content for t in tokenizer.added_tokens_decoder.values() if t.special]
    return ", ".join(names[:8]) or "none"


@dataclass(frozen=True, eq=False)
class _How:
    """What decides over a row's tokens besides the row."""

    tokenizer: "PreTrainedTokenizerBase"
    template: TemplateConfig
    end: int
    check_control_tokens: bool
    many: bool

    @property
    def origin(self) -> list[Any]:
        """The same as JSON values."""
        tokenizer = self.tokenizer
        whole = text_digest(tokenizer.backend_tokenizer.to_str()) if tokenizer.is_fast else ""
        special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
        settings = self.template.model_dump(mode="json")
        return ["documents", whole, special, tokenizer.chat_template, settings, self.end, self.check_control_tokens]


class _Rows:
    """Encodes rows and judges them: documents as they are, conversations by the chat template."""

    def __init__(self, how: _How) -> None:
        self.how = how
        tokenizer = how.tokenizer
        self._encoder = Encoder(tokenizer, many=how.many)
        bos = bos_text(tokenizer)
        self._bos = [int(tokenizer.convert_tokens_to_ids(bos))] if bos else []
        special = [i for i, t in tokenizer.added_tokens_decoder.items() if t.special]
        self._control = np.array(special if how.check_control_tokens else [], np.int32)

    @cached_property
    def _judge(self) -> Judge:
        """Made for the first conversation: a base without a chat template has documents all the same."""
        how = self.how
        template = chat_template(how.tokenizer, how.template)
        return Judge(how.tokenizer, template, check_control_tokens=how.check_control_tokens, many=how.many)

    def __call__(self, rows: Sequence[Row]) -> list[Linted]:
        """What is to be said of each row."""
        documents = [row for row in rows if row["kind"] == "document"]
        others = [row for row in rows if row["kind"] != "document"]
        found = iter(self._documents([str(row["text"] or "") for row in documents]))
        judged = iter(self._judge(others) if others else [])
        return [next(found if row["kind"] == "document" else judged) for row in rows]

    def _documents(self, texts: Sequence[str]) -> list[Linted]:
        return [self._document(tokens.ids) for tokens in self._encoder.encode(texts)]

    def _document(self, text: Int32s) -> Linted:
        if not len(text):
            return Linted(reason="no_trained_tokens")
        # The tokenizer makes a control token of such text, as it would of the true one.
        hit = text[np.isin(text, self._control)]
        if len(hit):
            return Linted(
                reason="control_token_in_text", detail=str(self.how.tokenizer.convert_ids_to_tokens(int(hit[0])))
            )
        ids = np.concatenate([self._bos, text, [self.how.end]]).astype(np.int32)
        labels = ids.copy()
        labels[: len(self._bos)] = IGNORED
        return Linted((Labelled(ids, labels, len(ids) - len(self._bos)),), ends=frozenset({self.how.end}))


def _rows_elsewhere(how: _How) -> Callable[[pa.Table], list[Linted]]:
    """In a process of its own, which is one of as many as there are cores."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    return _rows_here(how)


def _rows_here(how: _How) -> Callable[[pa.Table], list[Linted]]:
    rows = _Rows(how)
    return lambda table: rows(table.to_pylist())


@dataclass
class _Tally:
    """Counts rows and writes their ledger lines."""

    settings: TrainSettings
    ledger: LedgerWriter | None
    result: Encoding = field(default_factory=Encoding)

    def drop(self, record_id: str, reason: str, evidence: dict[str, Any]) -> None:
        """Count a row that isn't trained on."""
        r = self.result
        r.dropped_by[reason] = r.dropped_by.get(reason, 0) + 1
        if len(r.examples) < _EXAMPLES:
            r.examples.append(Example(record_id=record_id, reason=reason, text="", evidence=evidence))
        if self.ledger:
            self.ledger.add(record_id, "dropped", reason, evidence=evidence)

    def keep(self, pieces: Sequence[Labelled]) -> None:
        """Count a row by what is trained of it."""
        r = self.result
        r.kept += 1
        r.sequences += 1
        tokens = sum(len(p.input_ids) for p in pieces)
        r.tokens += tokens
        r.trained += sum(p.trained for p in pieces)
        r.longest = max(r.longest, tokens)
        r.lengths[min(tokens.bit_length() - 1, len(r.lengths) - 1)] += 1

    def cut(self, record_id: str, evidence: dict[str, Any]) -> None:
        """Count a conversation that lost its end."""
        self.result.truncated += 1
        if self.ledger:
            self.ledger.add(record_id, "changed", "truncated", evidence=evidence)


class _Spool:
    """Tokens of rows in the order in which they came, on disk; and what orders them, in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.keys: list[bytes] = []
        self.lengths: list[int] = []
        self.replay: list[bool] = []
        self._documents: list[bool] = []
        self._sources: list[str] = []

    def __enter__(self) -> "_Spool":
        self._folder.mkdir()
        self._ids, self._labels = (self._open(name) for name in ("ids", "labels"))
        return self

    def __exit__(self, *_: object) -> None:
        self._ids.close()
        self._labels.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _open(self, name: str) -> BinaryIO:
        return (self._folder / name).open("wb")

    def add(self, row: Row, linted: Linted, *, replay: bool) -> None:
        """Keep a row's sequences."""
        for sequence in linted.sequences:
            self.keys.append(order_key(row))
            self.lengths.append(len(sequence.input_ids))
            self.replay.append(replay)
            self._documents.append(row["kind"] == "document")
            self._sources.append(sys.intern(_source_of(row)))
            self._ids.write(sequence.input_ids.astype(np.int32).tobytes())
            self._labels.write(sequence.labels.astype(np.int32).tobytes())

    def tokens(self, *, replay: bool) -> int:
        """Tokens of the rows that are replayed, or of the others."""
        return sum(n for n, r in zip(self.lengths, self.replay, strict=True) if r == replay)

    def rows(self) -> Iterator["_Row"]:
        """The rows by their keys."""
        self._ids.flush()
        self._labels.flush()
        starts = np.cumsum([0, *self.lengths])
        ids, labels = (
            np.memmap(self._folder / n, np.int32, "r") if starts[-1] else np.empty(0, np.int32)
            for n in ("ids", "labels")
        )
        key_of = self.keys.__getitem__
        for key, numbers in groupby(sorted(range(len(self.keys)), key=key_of), key=key_of):
            of_row = list(numbers)
            parts = [slice(starts[n], starts[n + 1]) for n in of_row]
            sequences = [Labelled(ids[p], labels[p], int((labels[p] != IGNORED).sum())) for p in parts]
            first = of_row[0]
            yield _Row(key, self._sources[first], self.replay[first], self._documents[first], sequences)


@dataclass(frozen=True)
class _Row:
    """A row's sequences; `replay`: it is mixed in against forgetting."""

    key: bytes
    source: str
    replay: bool
    document: bool
    sequences: list[Labelled]

    @property
    def record_id(self) -> str:
        """Its record's id."""
        return self.key[-_ID_BYTES:].hex()


def _source_of(row: Row) -> str:
    """The name that ingest gives it."""
    return str(row["source"]).partition("/")[0]


def _spool(
    dataset: Dataset,
    split: str | None,
    limit: int | None,
    how: _How,
    wanted: Wanted,
    means: Means,
    name: str,
    tally: _Tally,
    spool: _Spool,
) -> None:
    """Every row that the objective takes, as tokens."""
    work = Work(_rows_elsewhere, how, "tokens")
    where = means.executor
    with (
        where.open(work, _rows_here(how)) as pool,
        cached_tokens(means, name, how.origin) as cached,
        Progress(f"tokens ({split or 'all rows'})", dataset.manifest.splits.get(split or "")) as progress,
    ):
        tables = wanted_tables(dataset, split, limit, wanted.refusal, _COLUMNS)
        for batch, found in judged(tables, wanted.refusal, cached, pool, where.batch_rows):
            for row, one in zip(_taken(batch, tally), found, strict=True):
                tally.result.lint.count(one, row["record_id"])
                if not one.sequences:
                    _unusable(tally, row, one)
                spool.add(row, one, replay=wanted.replays(_source_of(row), row["kind"]))
            progress.advance(len(batch.rows))


def _unusable(tally: _Tally, row: Row, linted: Linted) -> None:
    if tally.settings.unusable_rows == "fail":
        tally.result.lint.require(max_unusable_share=0.0)
    tally.drop(row["record_id"], linted.reason or "", {"detail": linted.detail} if linted.detail else {})


def _taken(batch: RowBatch, tally: _Tally) -> list[Row]:
    """The rows that can be used; the others are counted."""
    tally.result.rows_in += len(batch.rows)
    for row, reason in zip(batch.rows, batch.refusals, strict=True):
        if reason is not None:
            tally.drop(row["record_id"], reason, {})
    return [row for row, reason in zip(batch.rows, batch.refusals, strict=True) if reason is None]


def _require_documents(result: Encoding, spool: _Spool, wanted: Wanted, settings: TrainSettings) -> None:
    if result.lint.rows:
        result.lint.require(max_unusable_share=settings.max_unusable_share)
    if not spool.tokens(replay=False) and not (wanted.measured and spool.lengths):
        raise TrainingDataError(
            f"no document to train on: {result.rows_in} rows read, dropped by {result.dropped_by}",
            where="train",
            hint="continued_pretraining trains on documents; take objective: {kind: sft} for conversations, or leave"
            " some documents out of objective.replay",
        )


def _write(spool: _Spool, settings: TrainSettings, wanted: Wanted, tally: _Tally, path: Path) -> None:
    """Pieces into the Arrow file; of the rows to replay as many as the share wants."""
    due = math.inf if wanted.measured else wanted.share / (1 - wanted.share) * spool.tokens(replay=False)
    replayed, written = 0, list[tuple[_Row, Labelled]]()
    origin = _Origin()
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, PIECES_SCHEMA) as out:
        for row in spool.rows():
            if row.replay and replayed >= due:
                tally.drop(row.record_id, "replay_not_needed", {})
                continue
            pieces = _cut(row, settings, tally)
            if not pieces:
                continue
            tally.keep(pieces)
            origin.add(row, pieces)
            replayed += sum(len(p.input_ids) for p in pieces) if row.replay else 0
            written += [(row, p) for p in pieces]
            if len(written) >= BATCH_ROWS:
                out.write_batch(_record_batch(written))
                written = []
        if written:
            out.write_batch(_record_batch(written))
    tally.result.replayed = replayed
    tally.result.order, tally.result.origins = bytes(origin.keys), origin.origins()


@dataclass
class _Origin:
    """Keys of the pieces' rows, and where these come from."""

    keys: bytearray = field(default_factory=bytearray)
    sources: list[str] = field(default_factory=list)
    trained: list[float] = field(default_factory=list)

    def add(self, row: _Row, pieces: Sequence[Labelled]) -> None:
        """A row was written."""
        self.keys += row.key * len(pieces)
        self.sources += [row.source] * len(pieces)
        self.trained += [sum(p.trained for p in pieces) / len(pieces)] * len(pieces)

    def origins(self) -> Origins:
        """In the order of the pieces."""
        names = sorted(set(self.sources))
        codes = {name: code for code, name in enumerate(names)}
        hashes = np.frombuffer(bytes(self.keys), ">u8")[:: 2 * _ID_BYTES // 8].astype(np.uint64)
        return Origins(names, np.array([codes[s] for s in self.sources], np.int32), hashes, np.array(self.trained))


def _cut(row: _Row, settings: TrainSettings, tally: _Tally) -> list[Labelled]:
    """A document in pieces; a conversation as `overlong` has it."""
    size, sequences = settings.max_length, row.sequences
    longest = max(len(s.input_ids) for s in sequences)
    if longest <= size:
        return sequences
    if row.document:
        return [_piece(s, at, at + size) for s in sequences for at in range(0, len(s.input_ids), size)]
    evidence = {"tokens": longest, "max_length": size}
    if settings.overlong == "fail":
        raise TrainingDataError(
            f"a row to replay has {longest} tokens, max_length is {size}",
            where=f"row {row.record_id}", hint="raise max_length, or set overlong to drop or truncate",
        )  # fmt: skip
    if settings.overlong == "drop":
        tally.drop(row.record_id, "overlong", evidence)
        return []
    kept = [s for s in (s.cut(size) for s in sequences) if s.trained]
    if kept:
        tally.cut(row.record_id, evidence)
    else:
        tally.drop(row.record_id, "overlong_prompt", evidence)
    return kept


def _piece(sequence: Labelled, start: int, stop: int) -> Labelled:
    labels = sequence.labels[start:stop]
    return Labelled(sequence.input_ids[start:stop], labels, int((labels != IGNORED).sum()))


def _record_batch(written: Sequence[tuple[_Row, Labelled]]) -> pa.RecordBatch:
    pieces = [p for _, p in written]
    lengths = pa.array([len(p.input_ids) for p in pieces], pa.int32())
    return pa.record_batch(
        [*token_lists(pieces), lengths, pa.array([row.replay for row, _ in written])], schema=PIECES_SCHEMA
    )


def _note(result: Encoding, tokenizer: "PreTrainedTokenizerBase", end: int, wanted: Wanted) -> None:
    if wanted.share:
        share = result.replayed / max(result.tokens, 1)
        text = f"{result.replayed} of {result.tokens} tokens ({share:.1%}) are of replayed rows"
        result.notes.append(
            text + ("" if share >= wanted.share else f"; {wanted.share:.1%} were wanted: there are no more")
        )
    ending = str(tokenizer.convert_ids_to_tokens(end))
    if wanted.end_token is None and ending in str(tokenizer.chat_template or ""):
        result.notes.append(
            f"documents end with {ending}, which also ends turns in the chat template; name what the model's documents"
            " ended with as objective.end_token"
        )
