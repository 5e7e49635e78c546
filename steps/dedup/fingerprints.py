"""One pass over the rows: what is needed to compare them later, without their text."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from steps.contracts.arrays import Numbers
from steps.contracts.dataset import Dataset
from steps.contracts.records import KINDS, UNWANTED
from steps.dedup.config import DedupConfig
from steps.engines.execution.threads import ordered
from steps.engines.minhash.signatures import BandHashes, Scheme
from steps.engines.minhash.sketch import Job, SetFile, Sketch, sketch
from steps.engines.progress.progress import Progress
from steps.engines.text.columns import TEXT_COLUMNS, Scratch, Texts, digests_of, texts_of

Ids = npt.NDArray[np.bytes_]
Digests = npt.NDArray[np.uint64]

_UNPAIRED = KINDS.index("unpaired_preference")
_COLUMNS = ["record_id", "content_id", "batch", "label", *TEXT_COLUMNS]
_ID_BYTES = 32
_ODD = np.uint64(0x9E3779B97F4A7C15)


class Stacked:
    """Several arrays read as one, without copying them: earlier runs' rows are many, and few of them are looked at."""

    def __init__(self, parts: Sequence[npt.NDArray[Any]]) -> None:
        self._parts = parts
        self._first = np.cumsum([0, *map(len, parts)])

    def __len__(self) -> int:
        return int(self._first[-1])

    def __getitem__(self, rows: Any) -> Any:
        """Values at one place, or at each of an array of places."""
        places = np.atleast_1d(np.asarray(rows, np.int64))
        part = np.searchsorted(self._first, places, "right") - 1
        out = np.empty(len(places), self._parts[-1].dtype)
        for number in np.unique(part).tolist():
            here = part == number
            out[here] = self._parts[number][places[here] - self._first[number]]
        return out if np.ndim(rows) else out[0]


@dataclass(frozen=True)
class Fingerprints:
    """Of n rows. record_ids, content_ids: as bytes, shape (n,). batches: shape (n,).

    asked, answered: 128-bit digests of the prompt and of the answer, uint64, shape (n, 2); claims: rows that have
    both, shape (n,).
    """

    record_ids: Ids | Stacked
    content_ids: Ids | Stacked
    batches: Numbers | Stacked
    asked: Digests
    answered: Digests
    claims: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.record_ids)

    def in_order(self, rows: Numbers) -> Numbers:
        """These rows in canonical order, the one that wins first: by (batch, content id), then by record id."""
        content, batches = _big_endian(self.content_ids[rows]), self.batches[rows]
        order = np.lexsort((content[:, 0], batches))
        # 32 bits of the content id settle nearly all; the others are sorted again by everything.
        key, batch = content[order, 0], batches[order]
        equal = (key[1:] == key[:-1]) & (batch[1:] == batch[:-1])
        tied = (
            np.flatnonzero(np.concatenate(([False], equal)) | np.concatenate((equal, [False]))) if len(rows) else order
        )
        some = order[tied]
        record = _big_endian(self.record_ids[rows[some]])
        keys = [record[:, j] for j in (3, 2, 1, 0)] + [content[some, j] for j in (3, 2, 1, 0)]
        order[tied] = some[np.lexsort((*keys, batches[some]))]
        return np.asarray(rows[order])


@dataclass(frozen=True)
class Sketches:
    """Of n rows: 128-bit digests of the compared words, uint64, shape (n, 2); band hashes, shape (bands, n); and
    shingle sets: row i's is `sets.values()[starts[i]:ends[i]]`.
    """

    words: Digests
    bands: BandHashes
    starts: Numbers
    ends: Numbers
    sets: SetFile


def scheme_of(config: DedupConfig) -> Scheme:
    """How the configured sketches are made."""
    return Scheme(config.banding.bands, config.banding.rows, config.seed, config.backend)


def read_fingerprints(dataset: Dataset, config: DedupConfig, sets: SetFile) -> tuple[Fingerprints, Sketches]:
    """Read the rows once, with all cores; the shingle set of each row goes to `sets`."""
    n = dataset.rows
    bands = np.empty((config.banding.bands if config.near else 0, n), np.uint32)
    sizes = np.zeros(n, np.int64)
    record_ids, content_ids = np.empty(n, f"S{_ID_BYTES}"), np.empty(n, f"S{_ID_BYTES}")
    numbers = np.empty(n, np.int64)
    asked, answered, claims = np.zeros((n, 2), np.uint64), np.zeros((n, 2), np.uint64), np.zeros(n, bool)
    prints = Fingerprints(record_ids, content_ids, numbers, asked, answered, claims)
    words = np.empty((n, 2), np.uint64)
    at = 0
    with Progress("dedup: reading", n) as progress:
        for ids, contents, batches, drawn, claimed in ordered(_Reader(config).read, _tables(dataset)):
            here = slice(at, at + len(ids))
            record_ids[here], content_ids[here], numbers[here] = ids, contents, batches
            words[here], bands[:, here], sizes[here] = drawn.digests, drawn.bands.T, drawn.sizes
            if claimed is not None:
                asked[here], answered[here], claims[here] = claimed
            sets.append(drawn.sets)
            at += len(ids)
            progress.advance(len(ids))
    ends = np.cumsum(sizes)
    return prints, Sketches(words, bands, ends - sizes, ends, sets)


def _tables(dataset: Dataset) -> Iterator[pa.Table]:
    for chunk in dataset.chunks(_COLUMNS):
        yield chunk.table


Claims = tuple[Digests, Digests, npt.NDArray[np.bool_]]


class _Reader:
    """Turns tables into fingerprints; each thread has its own buffers."""

    def __init__(self, config: DedupConfig) -> None:
        self._config = config
        self._scheme = scheme_of(config) if config.near else None
        self._local = threading.local()

    def read(self, table: pa.Table) -> tuple[Ids, Ids, Numbers, Sketch, Claims | None]:
        """(record ids, content ids, batches, sketch, claims) of consecutive rows."""
        if not hasattr(self._local, "scratch"):
            self._local.scratch = Scratch()
        kinds = classes_of(table)
        config = self._config
        ngrams = np.where(kinds == KINDS.index("document"), config.ngram_documents, config.ngram_messages)
        job = Job(texts_of(table, config.compare), ngrams.astype(np.int64), kinds)
        drawn = sketch(job, self._scheme, symbols=config.symbols, scratch=self._local.scratch)
        batches = np.asarray(table["batch"].to_numpy(), np.int64)
        return ids_of(table["record_id"]), ids_of(table["content_id"]), batches, drawn, claims_of(table, kinds)


def classes_of(table: pa.Table) -> Numbers:
    """What each row is compared with: `comparison_class`, shape (n,)."""
    import pyarrow.compute as pc

    kinds = np.asarray(pc.index_in(table["kind"].combine_chunks(), pa.array(KINDS)).to_numpy(), np.int64)
    labels = table["label"]
    if labels.null_count == len(labels):
        return kinds
    unwanted = pc.fill_null(pc.invert(labels.combine_chunks()), False).to_numpy(zero_copy_only=False)
    return np.where(unwanted, UNWANTED, kinds)


def ids_of(column: pa.ChunkedArray) -> Ids:
    """Ids of 32 characters as bytes, shape (n,)."""
    return np.asarray(
        column.combine_chunks().cast(pa.binary(_ID_BYTES)).to_numpy(zero_copy_only=False), f"S{_ID_BYTES}"
    )


def claims_of(table: pa.Table, kinds: Numbers) -> Claims | None:
    """Digests of what is asked and of what is answered, and which rows have both; None when no row can have them.

    Case, Unicode form, white space and closing punctuation of the answer make no difference. Of a preference the
    two answers belong to what is asked, in either order, and the chosen one is the answer. Of an unpaired preference
    the answer belongs to what is asked, and whether it is wanted is the answer.
    """
    if (kinds == KINDS.index("document")).all():
        return None
    prompts = texts_of(table, "prompt")
    asked, unasked = digests_of(prompts)
    answered, unanswered = digests_of(_unmarked(texts_of(table, "answer"), marks=(0,)), strip=True)
    claims = (kinds == KINDS.index("conversation")) & ~unasked & ~unanswered
    pairs = kinds == KINDS.index("preference")
    if pairs.any():
        answers = texts_of(table, "answer")
        chosen, _ = digests_of(_unmarked(answers, marks=(1,)))
        rejected, _ = digests_of(_unmarked(answers, marks=(2,)))
        swap = (chosen[:, 0] > rejected[:, 0])[:, None]
        low, high = np.where(swap, rejected, chosen), np.where(swap, chosen, rejected)
        both = (asked * _ODD + low) * _ODD + high
        asked, answered = np.where(pairs[:, None], both, asked), np.where(pairs[:, None], chosen, answered)
        claims |= pairs
    judged = kinds >= _UNPAIRED
    if judged.any():
        both = asked * _ODD + answered
        asked, answered = np.where(judged[:, None], both, asked), np.where(judged[:, None], kinds[:, None], answered)
        answered = answered.astype(np.uint64)
        claims |= judged & ~unasked & ~unanswered
        kinds = np.minimum(kinds, _UNPAIRED)
    salted = asked + kinds.astype(np.uint64)[:, None]
    return np.where(claims[:, None], salted, 0), np.where(claims[:, None], answered, 0), claims


def _unmarked(texts: Texts, marks: tuple[int, ...]) -> Texts:
    """The same rows with only the segments that have one of these marks; the others are empty."""
    keep = np.isin(texts.marks, marks)
    return Texts(texts.data, texts.starts, np.where(keep, texts.ends, texts.starts), texts.marks, texts.offsets)


def _big_endian(ids: Ids) -> Digests:
    """Bytes as four numbers that sort like them, shape (n, 4)."""
    return np.ascontiguousarray(ids).view(">u8").reshape(len(ids), 4).astype(np.uint64)
