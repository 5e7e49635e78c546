"""The rows that must not be trained on: validation, test and benchmark rows, in comparable form."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from steps.contracts.dataset import Dataset
from steps.engines.text.columns import TEXT_COLUMNS, Words, column_texts, texts_of, words_of
from steps.leakcheck.benchmarks import benchmark_texts
from steps.leakcheck.config import LeakCheckConfig
from steps.leakcheck.ngram_index import NgramIndex, Ngrams, ngrams_of

COLUMNS = ["record_id", "split", *TEXT_COLUMNS]
Name = tuple[str, str]
_BATCH_ROWS = 1_000


@dataclass(frozen=True)
class HeldOut:
    """m held-out rows. names: (where it is from, id) per row: a split and a record_id, or a benchmark and "row:7".

    whole: digest of a row's words -> the first such row. near, inside: indexes of shingles and of overlap n-grams.
    sources: rows per split and benchmark. short: rows with fewer words than an overlap n-gram.
    """

    names: list[Name]
    whole: dict[tuple[int, int], int]
    near: NgramIndex
    inside: NgramIndex
    sources: dict[str, int]
    short: int


def row_words(table: pa.Table) -> Words:
    """Words of everything that each row says."""
    texts = texts_of(table)
    # What was chosen and what was rejected are the same kind of text here.
    return words_of(replace(texts, marks=np.zeros_like(texts.marks)))


def read_held_out(dataset: Dataset, config: LeakCheckConfig, root: Path) -> HeldOut:
    """Collect the held-out rows, sorted by name so that their order in the dataset makes no difference."""
    names: list[Name] = []
    parts: list[Words] = []
    for some, words in _held_out_rows(dataset, config, root):
        spoken = np.diff(words.offsets) > 0
        names += [name for name, says in zip(some, spoken.tolist(), strict=True) if says]
        parts.append(_rows(words, np.flatnonzero(spoken)))
    words = _rows(_concatenated(parts), np.array(sorted(range(len(names)), key=names.__getitem__), np.int64))
    names.sort()
    whole: dict[tuple[int, int], int] = {}
    for place, (low, high) in enumerate(words.digests.tolist()):
        whole.setdefault((low, high), place)
    lengths = np.diff(words.offsets)
    long = lengths >= config.overlap_ngram
    return HeldOut(
        names=names,
        whole=whole,
        near=NgramIndex(ngrams_of(words, config.ngram)),
        inside=NgramIndex(_without(ngrams_of(words, config.overlap_ngram), long)),
        sources=dict(sorted(Counter(source for source, _ in names).items())),
        short=int((~long).sum()),
    )


def _held_out_rows(dataset: Dataset, config: LeakCheckConfig, root: Path) -> Iterator[tuple[list[Name], Words]]:
    """Names and words of the rows, some at a time."""
    for table in dataset.tables(COLUMNS):
        some = table.filter(pc.is_in(table["split"], pa.array(["validation", "test"])))
        if some.num_rows:
            ids = zip(some["split"].to_pylist(), some["record_id"].to_pylist(), strict=True)
            yield list(ids), row_words(some)
    for benchmark in config.benchmarks:
        rows = benchmark_texts(benchmark, root)
        while batch := list(islice(rows, _BATCH_ROWS)):
            texts = pa.array([text.encode("utf-8", "replace").decode() for _, text in batch], pa.string())
            yield [(benchmark.name, locator) for locator, _ in batch], words_of(column_texts(texts))


def _rows(words: Words, chosen: npt.NDArray[np.int64]) -> Words:
    """The chosen rows, in that order."""
    starts, counts = words.offsets[chosen], words.offsets[chosen + 1] - words.offsets[chosen]
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    at = np.repeat(starts - offsets[:-1], counts) + np.arange(int(offsets[-1]))
    return Words(words.values[at], offsets, words.digests[chosen])


def _concatenated(parts: list[Words]) -> Words:
    counts = np.concatenate([np.empty(0, np.int64), *(np.diff(p.offsets) for p in parts)])
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    values = np.concatenate([np.empty(0, np.uint64), *(p.values for p in parts)])
    return Words(values, offsets, np.concatenate([np.empty((0, 2), np.uint64), *(p.digests for p in parts)]))


def _without(grams: Ngrams, keep: npt.NDArray[np.bool_]) -> Ngrams:
    """The same rows; those not to keep have no n-grams."""
    counts = np.diff(grams.offsets)
    values = grams.values[np.repeat(keep, counts)]
    return Ngrams(values, np.concatenate(([0], np.cumsum(np.where(keep, counts, 0)))).astype(np.int64))
