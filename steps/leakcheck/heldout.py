"""The rows that must not be trained on: validation, test and benchmark rows, in comparable form."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from steps.contracts.dataset import Dataset
from steps.contracts.digests import short_id
from steps.contracts.records import text_of
from steps.engines.text.normalise import words
from steps.engines.text.shingles import Hashes, WordHashes, distinct, shingles_of
from steps.leakcheck.benchmarks import benchmark_texts
from steps.leakcheck.config import LeakCheckConfig
from steps.leakcheck.index import GramIndex

# Rows are read in every column that text_of needs.
TEXT_COLUMNS = ["record_id", "kind", "messages", "chosen", "rejected", "text", "split"]
_BATCH_ROWS = 1_000


@dataclass(frozen=True)
class HeldOut:
    """m held-out rows. names: (where it is from, id) per row: a split and a record_id, or a benchmark and "row:7".

    whole: digest of a row's tokens -> the first such row. near, inside: indexes of shingles and of overlap n-grams.
    sources: rows per split and benchmark. short: rows with fewer words than an overlap n-gram.
    """

    names: list[tuple[str, str]]
    whole: dict[str, int]
    near: GramIndex
    inside: GramIndex
    sources: dict[str, int]
    short: int


def token_digest(tokens: list[str]) -> str:
    """Equal for equal token streams."""
    return short_id(" ".join(tokens))


def read_held_out(dataset: Dataset, config: LeakCheckConfig, root: Path, hashes: WordHashes) -> HeldOut:
    """Collect the held-out rows, sorted by name so that their order in the dataset makes no difference."""
    names: list[tuple[str, str]] = []
    digests: list[str] = []
    near: list[Hashes] = []
    inside: list[Hashes] = []
    short = 0
    rows = _held_out_rows(dataset, config, root)
    while batch := list(islice(rows, _BATCH_ROWS)):
        texts = [tokens for _, tokens in batch]
        names += [name for name, _ in batch]
        digests += [token_digest(t) for t in texts]
        near += [distinct(h) for h in shingles_of(texts, hashes, config.ngram)]
        long = [t if len(t) >= config.overlap_ngram else [] for t in texts]
        short += sum(not t for t in long)
        inside += [distinct(h) for h in shingles_of(long, hashes, config.overlap_ngram)]
    order = sorted(range(len(names)), key=names.__getitem__)
    whole: dict[str, int] = {}
    for place, i in enumerate(order):
        whole.setdefault(digests[i], place)
    return HeldOut(
        names=[names[i] for i in order],
        whole=whole,
        near=GramIndex([near[i] for i in order]),
        inside=GramIndex([inside[i] for i in order]),
        sources=dict(sorted(Counter(source for source, _ in names).items())),
        short=short,
    )


def _held_out_rows(
    dataset: Dataset, config: LeakCheckConfig, root: Path
) -> Iterator[tuple[tuple[str, str], list[str]]]:
    """((source, id), tokens) of each row that has any token."""
    for table in dataset.tables(TEXT_COLUMNS):
        for row in table.filter(pc.is_in(table["split"], pa.array(["validation", "test"]))).to_pylist():
            if tokens := words(text_of(row)):
                yield (row["split"], row["record_id"]), tokens
    for benchmark in config.benchmarks:
        for locator, text in benchmark_texts(benchmark, root):
            if tokens := words(text):
                yield (benchmark.name, locator), tokens
