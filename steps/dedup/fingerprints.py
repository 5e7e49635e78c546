"""One pass over the rows: what is needed to compare them later, without their text."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from steps.contracts.dataset import Dataset
from steps.contracts.digests import short_id
from steps.contracts.records import KINDS, Kind, Row, text_of
from steps.dedup.config import DedupConfig
from steps.engines.minhash.sets import SpilledSets
from steps.engines.minhash.signatures import BandHashes, band_hashes, signatures
from steps.engines.progress.progress import Progress
from steps.engines.text.normalise import squeezed, words
from steps.engines.text.shingles import WordHashes, distinct, shingles_of
from steps.engines.text.sides import answers, asked_and_answered

Ids = npt.NDArray[np.bytes_]
Numbers = npt.NDArray[np.int64]

_COLUMNS = ["record_id", "content_id", "kind", "batch", "messages", "tools", "chosen", "rejected", "text"]


@dataclass(frozen=True)
class Fingerprints:
    """Of n rows with m distinct token streams.

    record_ids, content_ids: as bytes, shape (n,). batches: shape (n,). stream: number of the row's token stream,
    shape (n,), 0 to m - 1. bands: band hashes per token stream, shape (m, bands); (m, 0) when only exact
    duplicates are sought. asked: digest of the prompt, b"" where the row has none; answered: digest of the answer;
    shape (n,) both.
    """

    record_ids: Ids
    content_ids: Ids
    batches: Numbers
    stream: Numbers
    bands: BandHashes
    asked: Ids
    answered: Ids

    def canonical_order(self) -> Numbers:
        """Row numbers, the row that wins first: by (batch, content id), then by record id."""
        return np.lexsort((self.record_ids, self.content_ids, self.batches))


def read_fingerprints(dataset: Dataset, config: DedupConfig, sets: SpilledSets) -> Fingerprints:
    """Read the rows once; the shingle set of each distinct token stream goes to `sets`, in stream order."""
    reader = _Reader(config, sets)
    with Progress("dedup: reading", dataset.rows) as progress:
        for chunk in dataset.chunks(_COLUMNS):
            reader.take(chunk.table.to_pylist())
            progress.advance(chunk.table.num_rows)
    return reader.finish()


class _Reader:
    """Collects fingerprints; `_streams` numbers each token stream when it is first seen."""

    def __init__(self, config: DedupConfig, sets: SpilledSets) -> None:
        self.config, self.sets = config, sets
        self._word_hashes = WordHashes()
        self._streams: dict[str, int] = {}
        self._parts: list[tuple[Ids, Ids, Numbers, Numbers, Ids, Ids]] = []
        self._bands: list[BandHashes] = [np.empty((0, config.bands if config.near else 0), np.uint64)]

    def take(self, rows: list[Row]) -> None:
        """Add consecutive rows."""
        stream = np.empty(len(rows), np.int64)
        for kind in KINDS:
            some = [i for i, row in enumerate(rows) if row["kind"] == kind]
            stream[some] = self._number([rows[i] for i in some], kind)
        claims = [claim(row) for row in rows]
        self._parts.append(
            (
                np.array([row["record_id"] for row in rows], np.bytes_),
                np.array([row["content_id"] for row in rows], np.bytes_),
                np.array([row["batch"] for row in rows], np.int64),
                stream,
                np.array([asked for asked, _ in claims], np.bytes_),
                np.array([answered for _, answered in claims], np.bytes_),
            )
        )

    def _number(self, rows: list[Row], kind: Kind) -> list[int]:
        """Stream numbers of rows of one kind; new streams are sketched."""
        numbers: list[int] = []
        new: list[list[str]] = []
        for row in rows:
            tokens = row_words(row, self.config)
            key = short_id(kind, " ".join(tokens))
            if key not in self._streams:
                self._streams[key] = len(self._streams)
                new.append(tokens)
            numbers.append(self._streams[key])
        if new:
            self._sketch(new, kind)
        return numbers

    def _sketch(self, texts: list[list[str]], kind: Kind) -> None:
        config = self.config
        if not config.near:
            self._bands.append(np.empty((len(texts), 0), np.uint64))
            return
        n = config.ngram_documents if kind == "document" else config.ngram_messages
        members = [distinct(h) for h in shingles_of(texts, self._word_hashes, n, salt=KINDS.index(kind))]
        for m in members:
            self.sets.append(m)
        signature = signatures(members, config.bands * config.rows_per_band, config.seed, config.backend)
        self._bands.append(band_hashes(signature, config.bands, config.rows_per_band))

    def finish(self) -> Fingerprints:
        """All that was read, in the dataset's order."""
        self.sets.freeze()
        none = np.empty(0, np.bytes_)
        parts = self._parts or [(none, none, np.empty(0, np.int64), np.empty(0, np.int64), none, none)]
        record_ids, content_ids, batches, stream, asked, answered = (
            np.concatenate(column) for column in zip(*parts, strict=True)
        )
        return Fingerprints(record_ids, content_ids, batches, stream, np.concatenate(self._bands), asked, answered)


def row_words(row: Row, config: DedupConfig) -> list[str]:
    """The tokens by which the row is compared.

    Words of `chosen` and `rejected` carry a mark, so that a preference and its reverse are not the same text.
    """
    if row["kind"] == "preference":
        chosen, rejected = answers(row)
        prompt = words(asked_and_answered(row)[0], symbols=config.symbols) if config.compare != "answer" else []
        if config.compare == "prompt":
            return prompt
        return prompt + [
            mark + w for mark, text in (("+", chosen), ("-", rejected)) for w in words(text, symbols=config.symbols)
        ]
    if config.compare == "all" or row["kind"] == "document":
        return words(text_of(row), symbols=config.symbols)
    return words(asked_and_answered(row)[config.compare == "answer"], symbols=config.symbols)


def claim(row: Row) -> tuple[bytes, bytes]:
    """Digests of what is asked and of what is answered; rows that can't contradict another one give b"" twice.

    Case, Unicode form, white space and closing punctuation of the answer make no difference.
    """
    asked, answered = asked_and_answered(row)
    if row["kind"] == "preference":
        pair = [squeezed(a) for a in answers(row)]
        return _claim("preference", squeezed(asked), *sorted(pair)), _claim(pair[0])
    if not asked or not answered:
        return b"", b""
    return _claim(row["kind"], squeezed(asked)), _claim(squeezed(answered).rstrip(".!?… "))


def _claim(*parts: str) -> bytes:
    return short_id(*parts).encode()
