"""Rows that come later, looked up in the kept index of a million earlier ones, against a run over all of them.

    ASSAY_BENCH_DATA=folder make bench-incremental

CPU seconds are user + system of the whole process, medians of three runs that take turns. Every run keeps the index
that the next one needs, as runs with `reuse` do; `whole, no index` is a run that nothing will build on. `empty` is the
same process with a file of no rows: what it costs to start, to open the index and to account for the earlier rows.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from corpus import cache_folder, new_rows_file, rows_file
from measure import ROOT, Cost, data_folder, finish, measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--new", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    source, cache = data_folder("incremental", "t0.jsonl.gz"), cache_folder()
    old = rows_file(source, cache, options.rows)
    new = new_rows_file(source, cache, options.rows, options.new)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        none, index = folder / "none.parquet", folder / "index"
        pq.write_table(pq.read_table(new).slice(0, 0), none)
        made = run(old, "--make-index", str(index), "--keep", str(folder / "old.npy"))
        size = sum(f.stat().st_size for f in index.rglob("*") if f.is_file())
        print(
            f"{options.rows:,} rows with their index: {made.cpu_seconds:.1f} CPU s, {size / options.rows:.0f} bytes/row"
        )
        seen: dict[str, list[Cost]] = {name: [] for name in ("whole", "whole, no index", "new", "empty")}
        for turn in range(options.runs):
            seen["whole"].append(run(old, "--make-index", str(folder / f"whole{turn}")))
            shutil.rmtree(folder / f"whole{turn}")
            seen["whole, no index"].append(run(old))
            later = ("--index", str(index), "--make-index", str(folder / f"next{turn}"))
            seen["new"].append(run(new, *later, "--keep", str(folder / "both.npy")))
            shutil.rmtree(folder / f"next{turn}")
            seen["empty"].append(run(none, *later))
            shutil.rmtree(folder / f"next{turn}")
        same = bool((np.load(folder / "both.npy")[: options.rows] == np.load(folder / "old.npy")).all())
    cpu = {name: statistics.median(c.cpu_seconds for c in costs) for name, costs in seen.items()}
    share, net = cpu["new"] / cpu["whole"], (cpu["new"] - cpu["empty"]) / cpu["whole"]
    print("\n| run | CPU s | peak MB | rows |\n|---|---:|---:|---:|")
    for name, costs in seen.items():
        rows = json.loads(costs[0].stdout)["rows"]
        print(f"| {name} | {cpu[name]:.2f} | {statistics.median(c.peak_mb for c in costs):,.0f} | {rows:,} |")
    print(
        f"\n{options.new:,} new rows cost {100 * share:.1f} % of the whole run, {100 * net:.1f} % beyond an empty one"
    )
    figures: dict[str, object] = {
        **{k: round(v, 2) for k, v in cpu.items()},
        "share": round(share, 4),
        "net": round(net, 4),
    }
    wanted = {"under 12 % of the whole run": share < 0.12, "under 2 % net": net < 0.02, "old decisions stand": same}
    finish("incremental", figures, wanted)


def run(file: Path, *more: str) -> Cost:
    return measured(
        [sys.executable, str(ROOT / "benchmarks" / "peers" / "ours.py"), str(file), *more], PYTHONPATH=str(ROOT)
    )


if __name__ == "__main__":
    main()
