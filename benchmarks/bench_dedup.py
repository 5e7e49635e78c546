"""Near-duplicate removal as a user runs it, from a file to the kept rows on the disk, beside daft and datatrove.

    make peers
    ASSAY_BENCH_DATA=folder make bench-dedup
    ASSAY_BENCH_DATA=folder python benchmarks/bench_dedup.py --rows 50000 --runs 1      a small one

All read the same Parquet file and write Parquet. CPU seconds are user + system of the whole process, the interpreter's
start included; medians of runs that take turns. assay is `assay stage dedup FILE --out FOLDER` as it comes: it also
gives each row an id, compares every pair exactly, and writes a ledger that names for each dropped row the kept one and
their similarity, and a report; daft and datatrove do none of that. What stays wrong is counted on the smallest file:
against every similar pair there is (`bench_minhash`, which measures the engine alone).
"""

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pyarrow.parquet as pq
from bench_minhash import shingles, true_pairs
from corpus import cache_folder, rows_file
from measure import Cost, assay, data_folder, finish, peer

# From a file into a folder.
Tool = Callable[[Path, Path], Cost]


def ours(file: Path, out: Path) -> Cost:
    return assay("stage", "dedup", str(file), "--out", str(out), "--json", state=out.parent / "state")


TOOLS: dict[str, Tool] = {
    "assay": ours,
    "daft": lambda file, out: peer("daft", "normalize", file, "--out", str(out)),
    "datatrove": lambda file, out: peer("datatrove", "whole", file, "--out", str(out)),
}
# Chosen: a million rows take datatrove some twenty minutes.
_MOST = {"datatrove": 100_000}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[50_000, 1_000_000])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--tools", nargs="*", default=list(TOOLS), choices=list(TOOLS))
    options = parser.parse_args()
    source, sizes = data_folder("dedup", "t0.jsonl.gz"), sorted(options.rows)
    files = {rows: rows_file(source, cache_folder(), rows) for rows in sizes}
    costs: dict[int, dict[str, Cost]] = {}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        compiled = ours(files[sizes[-1]], scratch / "first")
        print(f"first run, compiling what isn't compiled yet: {compiled.cpu_seconds:.1f} CPU s")
        for rows, file in files.items():
            tools = {n: t for n, t in TOOLS.items() if n in options.tools and rows <= _MOST.get(n, rows)}
            costs[rows] = compared(file, rows, tools, options.runs, scratch)
        kept = {name: ids_in(scratch / f"{name}-{sizes[0]}-0") for name in costs[sizes[0]]}
    quality(files[sizes[0]], kept)
    judged(costs)


def compared(file: Path, rows: int, tools: dict[str, Tool], runs: int, scratch: Path) -> dict[str, Cost]:
    """Median cost per tool; the tools take turns. What they write stays in `scratch`."""
    seen: dict[str, list[Cost]] = {name: [] for name in tools}
    for run in range(runs):
        for name, tool in tools.items():
            seen[name].append(tool(file, scratch / f"{name}-{rows}-{run}"))
    medians = {name: sorted(of, key=lambda c: c.cpu_seconds)[len(of) // 2] for name, of in seen.items()}
    print(f"\n{rows:,} rows, {file.stat().st_size / 1e6:.0f} MB of Parquet; {runs} runs each\n")
    print("| tool | CPU s | rows / CPU s | peak MB | kept |\n|---|---:|---:|---:|---:|")
    for name, cost in medians.items():
        speed = rows / cost.cpu_seconds
        print(f"| {name} | {cost.cpu_seconds:.1f} | {speed:,.0f} | {cost.peak_mb:,.0f} | {kept_by(cost):,} |")
    return medians


def kept_by(cost: Cost) -> int:
    said = json.loads(cost.stdout)
    report = said.get("report")
    return int(report["kept"] if report else said["kept"])


def ids_in(out: Path) -> np.ndarray:
    """The ids of the rows that a tool has written; ours keeps the column in `meta`."""
    found: list[int] = []
    for file in out.rglob("*.parquet"):
        names = pq.read_schema(file).names
        if "id" in names:
            found += [int(i) for i in pq.read_table(file, columns=["id"]).column(0).to_pylist()]
        elif "meta" in names:
            found += [json.loads(m)["id"] for m in pq.read_table(file, columns=["meta"]).column(0).to_pylist()]
    return np.array(found, np.int64)


def quality(file: Path, kept: dict[str, np.ndarray]) -> None:
    """Drop precision: dropped rows with a kept row at Jaccard >= 0.7. Pair recall: true pairs not both kept."""
    texts = pq.read_table(file, columns=["text"]).column(0).to_pylist()
    left, right = true_pairs([set(shingles(t)) for t in texts])
    print(f"\n{len(texts):,} rows, {len(left):,} pairs at Jaccard >= 0.7 (truth, by sparse matrix product)\n")
    print("| tool | dropped | drop precision | pair recall | pairs left |\n|---|---:|---:|---:|---:|")
    for name, ids in kept.items():
        keep, near = np.zeros(len(texts), bool), np.zeros(len(texts), bool)
        keep[ids] = True
        near[left[keep[right]]] = near[right[keep[left]]] = True
        remaining = int((keep[left] & keep[right]).sum())
        recall = 1 - remaining / max(len(left), 1)
        print(f"| {name} | {int((~keep).sum()):,} | {near[~keep].mean():.4f} | {recall:.4f} | {remaining} |")


def judged(costs: dict[int, dict[str, Cost]]) -> None:
    largest = max(costs)
    mine = costs[largest]["assay"]
    speed = {name: rows / of[name].cpu_seconds for rows, of in sorted(costs.items()) for name in of}
    best = max((v for n, v in speed.items() if n != "assay"), default=math.nan)
    figures = {
        "rows": largest,
        "cpu_seconds": round(mine.cpu_seconds, 1),
        "mb": round(mine.peak_mb),
        "rows_per_cpu_second": {name: round(v) for name, v in speed.items()},
    }
    wanted = {
        "a million rows deduplicated from the file in 25 CPU s": mine.cpu_seconds <= 25,
        "in 1.3 GB": mine.peak_mb <= 1_300,
        "less CPU than the others": speed["assay"] > best,
    }
    finish("dedup", figures, wanted)


if __name__ == "__main__":
    main()
