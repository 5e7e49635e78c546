"""`assay stage` as whole processes from the file on disk: Parquet rows read and deduplicated, JSON Lines read.

    ASSAY_BENCH_DATA=folder python benchmarks/bench_ingest.py          a million rows of Parquet, T0 twenty times
    ASSAY_BENCH_DATA=folder python benchmarks/bench_ingest.py --rows 100000 --repeat 2

CPU seconds are user + system of the whole process, interpreter, reading, ids, digests and written shards included.
"""

import argparse
import gzip
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from corpus import cache_folder, rows_file
from measure import assay, data_folder, finish


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=20)
    options = parser.parse_args()
    source = data_folder("ingest", "t0.jsonl.gz")
    parquet = rows_file(source, cache_folder(), options.rows)
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "t0.jsonl"
        lines.write_bytes(gzip.decompress((source / "t0.jsonl.gz").read_bytes()) * options.repeat)
        print("| command | rows | CPU s | rows / CPU s | peak MB |\n|---|---:|---:|---:|---:|")
        for stage, file in (("ingest", parquet), ("dedup", parquet), ("ingest", lines)):
            out = Path(folder) / f"{stage}{file.suffix}"
            cost = assay("stage", stage, str(file), "--out", str(out), "--json", state=Path(folder) / "state")
            rows, cpu = json.loads(cost.stdout)["report"]["rows_in"], cost.cpu_seconds
            print(f"| {stage}, {file.suffix} | {rows:,} | {cpu:.1f} | {rows / cpu:,.0f} | {cost.peak_mb:,.0f} |")
            figures[f"{stage}{file.suffix}"] = {"rows": rows, "cpu_seconds": round(cpu, 1), "mb": round(cost.peak_mb)}
    dedup = figures["dedup.parquet"]
    speed = {name: of["rows"] / of["cpu_seconds"] for name, of in figures.items()}
    wanted = {
        "a million rows deduplicated from the file in 25 CPU s": dedup["cpu_seconds"] <= 25,
        "in 1.3 GB": dedup["mb"] <= 1300,
        "Parquet read at 100,000 rows per CPU s": speed["ingest.parquet"] >= 100_000,
        "JSON Lines at 60,000": speed["ingest.jsonl"] >= 60_000,
    }
    finish("ingest", figures, wanted)


if __name__ == "__main__":
    main()
