"""The engine of near-duplicate removal alone, against datasketch, rensa and daft, and every similar pair there is.

    make peers
    ASSAY_BENCH_DATA=folder make bench-minhash
    ASSAY_BENCH_DATA=folder python benchmarks/bench_minhash.py --rows 50000 --runs 1      a small one

CPU seconds are user + system of the whole process, the interpreter's start included; medians of runs that alternate
between the tools. `floor` only reads the file, cuts it into words and hashes every 5-gram, with our own tokeniser.
The truth is found by a sparse matrix product over sets of 5-grams cut by `normalise.words`, plain Python. (The peers'
scripts cut lower-cased text by a regular expression, which differs in one row of a hundred or so.)
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
from corpus import cache_folder, rows_file, template_file
from measure import ROOT, Cost, data_folder, finish, measured, peer
from scipy.sparse import csr_matrix

from steps.engines.text.normalise import words

THRESHOLD, WORDS = 0.7, 5
TRUTH_ROWS = 50_000
Tool = Callable[[Path, Path], Cost]


def ours(mode: str, *more: str) -> Callable[[Path, Path], Cost]:
    script = str(ROOT / "benchmarks" / "peers" / "ours.py")
    return lambda file, keep: measured(
        [sys.executable, script, str(file), "--mode", mode, "--keep", str(keep), *more], PYTHONPATH=str(ROOT)
    )


def theirs(name: str, mode: str) -> Tool:
    return lambda file, keep: peer(name, mode, file, "--keep", str(keep), words=WORDS)


TOOLS: dict[str, Tool] = {
    "assay": ours("dedup"),
    "floor": ours("floor"),
    "datasketch generator": theirs("datasketch", "generator"),
    "datasketch xxhash": theirs("datasketch", "xxhash"),
    "rensa rminhash": theirs("rensa", "rminhash"),
    "rensa cminhash": theirs("rensa", "cminhash"),
    "daft": theirs("daft", "normalize"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[50_000, 260_000, 1_000_000])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--tools", nargs="*", default=list(TOOLS), choices=list(TOOLS))
    options = parser.parse_args()
    tools = {name: TOOLS[name] for name in TOOLS if name in options.tools or name in ("assay", "floor")}
    source = data_folder("minhash", "t0.jsonl.gz")
    cache = cache_folder()
    with tempfile.TemporaryDirectory() as scratch:
        keep = Path(scratch) / "keep.npy"
        compiled = ours("dedup")(rows_file(source, cache, 1_000), keep)
        print(f"first run, compiling what isn't compiled yet: {compiled.cpu_seconds:.1f} CPU s\n")
        figures: dict[str, object] = {}
        wanted: dict[str, bool] = {}
        quality(rows_file(source, cache, TRUTH_ROWS), tools, Path(scratch), figures, wanted)
        costs = {n: compared(rows_file(source, cache, n), n, tools, options.runs, keep) for n in sorted(options.rows)}
        template = ours("dedup")(template_file(source, cache, 40_000), keep)
        print(f"\n40,000 rows of one template, Jaccard near 0.67: {template.cpu_seconds:.1f} CPU s, {template.stdout}")
        judged(costs, template, figures, wanted)
    finish("minhash", figures, wanted)


def compared(file: Path, rows: int, tools: dict[str, Tool], runs: int, keep: Path) -> dict[str, Cost]:
    """Median cost per tool; the tools take turns."""
    size = sum(len(t) for b in pq.ParquetFile(file).iter_batches(columns=["text"]) for t in b.column(0).to_pylist())
    print(f"\n{rows:,} rows, {size / 1e6:.0f} million characters; {runs} runs each\n")
    print("| tool | CPU s | rows / CPU s | peak MB | kept |\n|---|---:|---:|---:|---:|")
    seen: dict[str, list[Cost]] = {name: [] for name in tools}
    for _ in range(runs):
        for name, tool in tools.items():
            seen[name].append(tool(file, keep))
    medians = {}
    for name, costs in seen.items():
        middle = sorted(costs, key=lambda c: c.cpu_seconds)[len(costs) // 2]
        medians[name] = middle
        kept = json.loads(middle.stdout).get("kept", "")
        print(
            f"| {name} | {middle.cpu_seconds:.1f} | {rows / middle.cpu_seconds:,.0f} | {middle.peak_mb:,.0f} | {kept} |"
        )
    return medians


def judged(
    costs: dict[int, dict[str, Cost]], template: Cost, figures: dict[str, object], wanted: dict[str, bool]
) -> None:
    largest = max(costs)
    last = {name: cost.cpu_seconds for name, cost in costs[largest].items()}
    slower = [v / last["assay"] for k, v in last.items() if k.startswith("datasketch")]
    others = [v / last["assay"] for k, v in last.items() if k.startswith(("rensa", "daft"))]
    sketch, best = min(slower, default=math.nan), min(others, default=math.nan)
    floor = last["assay"] / last["floor"]
    figures |= {
        "rows": largest,
        "cpu_seconds": round(last["assay"], 1),
        "datasketch_times": round(sketch, 1),
        "best_other_times": round(best, 1),
        "floors": round(floor, 2),
        "peak_mb": round(costs[largest]["assay"].peak_mb),
        "template_cpu_seconds": round(template.cpu_seconds, 1),
    }
    wanted |= {
        "15x less CPU than datasketch": sketch >= 15,
        "3x less than the best of rensa and daft": best >= 3,
        "2.5 floors at most": floor <= 2.5,
        "under 1.3 GB": costs[largest]["assay"].peak_mb < 1_300,
        "template under 10 CPU s": template.cpu_seconds < 10,
    }
    if len(costs) > 1:
        smallest = min(costs)
        ratio = last["assay"] / costs[smallest]["assay"].cpu_seconds
        figures["growth_exponent"] = round(math.log(ratio) / math.log(largest / smallest), 3)
        wanted["growth exponent under 1.1"] = float(str(figures["growth_exponent"])) < 1.1


def quality(
    file: Path, tools: dict[str, Tool], folder: Path, figures: dict[str, object], wanted: dict[str, bool]
) -> None:
    """Drop precision: dropped rows with a kept row at Jaccard >= 0.7. Pair recall: true pairs not both kept."""
    texts = pq.read_table(file, columns=["text"]).column(0).to_pylist()
    left, right = true_pairs([set(shingles(t)) for t in texts])
    print(f"{len(texts):,} rows, {len(left):,} pairs at Jaccard >= {THRESHOLD} (truth, by sparse matrix product)\n")
    print("| tool | dropped | drop precision | pair recall | pairs left |\n|---|---:|---:|---:|---:|")
    for name, tool in tools.items():
        if name == "floor":
            continue
        tool(file, folder / "keep.npy")
        keep = np.load(folder / "keep.npy")
        near_kept = np.zeros(len(keep), bool)
        near_kept[left[keep[right]]] = near_kept[right[keep[left]]] = True
        proven, remaining = near_kept[~keep].mean(), int((keep[left] & keep[right]).sum())
        recall = 1 - remaining / len(left)
        print(f"| {name} | {int((~keep).sum()):,} | {proven:.4f} | {recall:.4f} | {remaining} |")
        if name == "assay":
            figures |= {"drop_precision": round(float(proven), 5), "pair_recall": round(recall, 5)}
            wanted |= {"drop precision 1.0": bool(proven == 1.0), "pair recall 0.9995": recall >= 0.9995}
    witnesses(file, folder, [set(shingles(t)) for t in texts], figures, wanted)


def witnesses(
    file: Path, folder: Path, sets: list[set[str]], figures: dict[str, object], wanted: dict[str, bool]
) -> None:
    ours("dedup", "--witness", str(folder / "w.npz"))(file, folder / "keep.npy")
    keep, found = np.load(folder / "keep.npy"), np.load(folder / "w.npz")
    off = [
        abs(len(sets[a] & sets[b]) / len(sets[a] | sets[b]) - j)
        for a, b, j in zip(found["row"], found["witness"], found["jaccard"], strict=True)
    ]
    kept = bool(keep[found["witness"]].all())
    print(f"\nwitnesses: {len(off):,}, all kept: {kept}, largest error of a Jaccard: {max(off):.2g}")
    figures["largest_jaccard_error"] = float(f"{max(off):.2g}")
    wanted["every witness is kept, its Jaccard true"] = kept and bool(max(off) < 1e-9)


def shingles(text: str) -> list[str]:
    tokens = words(text)
    return [" ".join(tokens[i : i + WORDS]) for i in range(max(len(tokens) - WORDS + 1, 1))]


def true_pairs(sets: list[set[str]]) -> tuple[np.ndarray, np.ndarray]:
    """All pairs (i < j) with Jaccard >= THRESHOLD."""
    numbers: dict[str, int] = {}
    columns = np.array([numbers.setdefault(s, len(numbers)) for members in sets for s in members], np.int64)
    ends = np.cumsum([0, *map(len, sets)])
    matrix = csr_matrix((np.ones(len(columns), np.int32), columns, ends), shape=(len(sets), len(numbers)))
    sizes = np.diff(ends)
    # A shingle of one row alone is in no pair.
    matrix = matrix[:, np.bincount(columns, minlength=len(numbers)) > 1]
    other = matrix.T.tocsr()
    parts = []
    for start in range(0, len(sets), 2_000):
        shared = (matrix[start : start + 2_000] @ other).tocoo()
        i, j, n = shared.row + start, shared.col, shared.data
        jaccard = n / (sizes[i] + sizes[j] - n)
        good = (i < j) & (jaccard >= THRESHOLD)
        parts.append((i[good], j[good]))
    a, b = (np.concatenate(column) for column in zip(*parts, strict=True))
    return a, b


if __name__ == "__main__":
    main()
