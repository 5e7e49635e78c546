"""One pass over the rows: what is needed to compare them later, without their text."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from steps.contracts.arrays import Numbers
from steps.contracts.dataset import Dataset
from steps.contracts.records import KINDS, UNWANTED
from steps.dedup.code import in_a_language
from steps.dedup.config import DedupConfig, Symbols
from steps.engines.execution.threads import ordered
from steps.engines.minhash.signatures import BandHashes, Scheme
from steps.engines.minhash.sketch import Job, SetFile, Sketch, sketch
from steps.engines.progress.progress import Progress
from steps.engines.text.columns import (
    CHOSEN,
    REJECTED,
    TEXT_COLUMNS,
    Scratch,
    Texts,
    Tokens,
    digests_of,
    texts_of,
    words_of,
)

Ids = npt.NDArray[np.bytes_]
Digests = npt.NDArray[np.uint64]

_UNPAIRED = KINDS.index("unpaired_preference")
_COLUMNS = ["record_id", "content_id", "batch", "label", "meta", *TEXT_COLUMNS]
_ID_BYTES = 32
_OF_CLAIMS = ("asked", "answered", "claims", "prompt")
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
    both, shape (n,). prompt: 64 bits over the prompt alone, 0 where there is no claim, shape (n,).
    plain, signs: 64-bit digests of the words and of the symbols between them; symbolic: rows that are compared with
    their symbols; shape (n,) each.
    """

    record_ids: Ids | Stacked
    content_ids: Ids | Stacked
    batches: Numbers | Stacked
    asked: Digests
    answered: Digests
    claims: npt.NDArray[np.bool_]
    prompt: npt.NDArray[np.uint64]
    plain: npt.NDArray[np.uint64]
    signs: npt.NDArray[np.uint64]
    symbolic: npt.NDArray[np.bool_]

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
    """Of n rows: 128-bit digests, uint64, shape (n, 2), equal for rows that are copies; band hashes, shape (bands, n);
    and shingle sets: row i's is `sets.values()[starts[i]:ends[i]]`, of which the first leads[i] belong to what it asks.
    """

    words: Digests
    bands: BandHashes
    starts: Numbers
    ends: Numbers
    leads: npt.NDArray[np.int32]
    sets: SetFile


def scheme_of(config: DedupConfig) -> Scheme:
    """How the configured sketches are made."""
    return Scheme(config.banding.bands, config.banding.rows, config.seed, config.backend)


def read_fingerprints(dataset: Dataset, config: DedupConfig, sets: SetFile) -> tuple[Fingerprints, Sketches]:
    """Read the rows once, with all cores; the shingle set of each row goes to `sets`."""
    n = dataset.rows
    bands = np.empty((config.banding.bands if config.near else 0, n), np.uint32)
    sizes, leads = np.zeros(n, np.int64), np.zeros(n, np.int32)
    prints = _empty(n)
    words = np.empty((n, 2), np.uint64)
    at = 0
    with Progress("dedup: reading", n) as progress:
        for part, drawn in ordered(_Reader(config).read, _tables(dataset)):
            here = slice(at, at + len(part))
            for f in fields(Fingerprints):
                # Memory that is zero and never written to isn't there: documents claim nothing.
                if part.answered.any() or f.name not in _OF_CLAIMS:
                    getattr(prints, f.name)[here] = getattr(part, f.name)
            bands[:, here], sizes[here], leads[here] = drawn.bands.T, drawn.sizes, drawn.leads
            words[here] = drawn.digests if config.compare == "prompt" else identities(drawn.digests, part.answered)
            sets.append(drawn.sets)
            at += len(part)
            progress.advance(len(part))
    ends = np.cumsum(sizes)
    return prints, Sketches(words, bands, ends - sizes, ends, leads, sets)


def _empty(n: int) -> Fingerprints:
    ids = np.empty(n, f"S{_ID_BYTES}")
    return Fingerprints(
        ids, ids.copy(), np.empty(n, np.int64), np.zeros((n, 2), np.uint64), np.zeros((n, 2), np.uint64),
        np.zeros(n, bool), np.zeros(n, np.uint64), np.empty(n, np.uint64), np.empty(n, np.uint64), np.empty(n, bool),
    )  # fmt: skip


def identities(tokens: Digests, answered: Digests) -> Digests:
    """Digests that are equal for rows of the same tokens and the same answer, shape (n, 2) each."""
    return (tokens * _ODD) ^ answered


def _tables(dataset: Dataset) -> Iterator[pa.Table]:
    for chunk in dataset.chunks(_COLUMNS):
        yield chunk.table


class _Reader:
    """Turns tables into fingerprints; each thread has its own buffers."""

    def __init__(self, config: DedupConfig) -> None:
        self._config = config
        self._scheme = scheme_of(config) if config.near else None
        self._local = threading.local()

    def read(self, table: pa.Table) -> tuple[Fingerprints, Sketch]:
        """Fingerprints and sketch of consecutive rows."""
        if not hasattr(self._local, "scratch"):
            self._local.scratch = Scratch()
        kinds = classes_of(table)
        config = self._config
        ngrams = np.where(kinds == KINDS.index("document"), config.ngram_documents, config.ngram_messages)
        tokens = tokens_of(table, config.symbols)
        job = Job(texts_of(table, config.compare), ngrams.astype(np.int64), kinds, tokens)
        drawn = sketch(job, self._scheme, scratch=self._local.scratch)
        batches = np.asarray(table["batch"].to_numpy(), np.int64)
        prints = Fingerprints(
            ids_of(table["record_id"]), ids_of(table["content_id"]), batches,
            *claims_of(table, kinds, drawn.symbolic), drawn.plain, drawn.signs, drawn.symbolic,
        )  # fmt: skip
        return prints, drawn


def tokens_of(table: pa.Table, symbols: Symbols) -> npt.NDArray[np.uint8]:
    """What each row is cut into, as `Tokens`, shape (n,)."""
    if symbols != "code":
        return np.full(len(table), Tokens.SYMBOLS if symbols else Tokens.WORDS, np.uint8)
    return np.where(in_a_language(table["meta"]), Tokens.SYMBOLS, Tokens.CODE).astype(np.uint8)


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


Claims = tuple[Digests, Digests, npt.NDArray[np.bool_], npt.NDArray[np.uint64]]


def claims_of(table: pa.Table, kinds: Numbers, symbolic: npt.NDArray[np.bool_]) -> Claims:
    """Digests of what is asked and of what is answered (0: nothing), which rows have both, and digests of the prompt.

    Of an answer count its words and the symbols that say something, in rows compared with their symbols all of them.
    Of a preference the two answers belong to what is asked, in either order, and their order is the answer. Of an
    unpaired preference the answer belongs to what is asked, and whether it is wanted to the answer.
    """
    n = len(table)
    if (kinds == KINDS.index("document")).all():
        # One value seen n times.
        nothing = np.broadcast_to(np.uint64(0), (n, 2))
        return nothing, nothing, np.zeros(n, bool), nothing[:, 0]
    prompts, answers = texts_of(table, "prompt"), texts_of(table, "answer")
    tokens = np.where(symbolic, Tokens.SYMBOLS, Tokens.TELLING).astype(np.uint8)
    talks, pairs, judged = (
        kinds == KINDS.index("conversation"),
        kinds == KINDS.index("preference"),
        kinds >= _UNPAIRED,
    )
    prompt = digests_of(prompts)
    said = np.where((talks | judged)[:, None], _said(answers, 0, tokens), np.uint64(0))
    asked, answered = prompt, said
    claims = ~prompts.empty & said.any(axis=1)
    if pairs.any():
        chosen, rejected = _said(answers, CHOSEN, tokens), _said(answers, REJECTED, tokens)
        swap = (chosen[:, 0] > rejected[:, 0])[:, None]
        low, high = np.where(swap, rejected, chosen), np.where(swap, chosen, rejected)
        asked = np.where(pairs[:, None], (asked * _ODD + low) * _ODD + high, asked)
        answered = np.where(pairs[:, None], chosen * _ODD + rejected, answered)
        claims |= pairs
    if judged.any():
        asked = np.where(judged[:, None], asked * _ODD + said, asked)
        answered = np.where(judged[:, None], said * _ODD + kinds[:, None].astype(np.uint64), answered)
    salt = np.minimum(kinds, _UNPAIRED).astype(np.uint64)
    return (
        np.where(claims[:, None], asked + salt[:, None], 0),
        answered,
        claims,
        np.where(claims, prompt[:, 0] + salt, 0),
    )


def _said(texts: Texts, mark: int, tokens: npt.NDArray[np.uint8]) -> Digests:
    """Digests of the segments with this mark; 0 where they say nothing. Shape (n, 2)."""
    words = words_of(_unmarked(texts, mark), tokens)
    return np.where(np.diff(words.offsets)[:, None] > 0, words.digests, 0)


def _unmarked(texts: Texts, mark: int) -> Texts:
    """The same rows with only the segments that have this mark, which they lose; the others are empty."""
    ends = np.where(texts.marks == mark, texts.ends, texts.starts)
    return replace(texts, ends=ends, marks=np.zeros_like(texts.marks))


def _big_endian(ids: Ids) -> Digests:
    """Bytes as four numbers that sort like them, shape (n, 4)."""
    return np.ascontiguousarray(ids).view(">u8").reshape(len(ids), 4).astype(np.uint64)
