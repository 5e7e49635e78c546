"""Curation without a judge of 55,185 prompt/completion rows (65 MB), as a process of its own.

Data: `t0.jsonl.gz`, the T0 sample of the self-instruct repository (Apache-2.0), in the folder that ASSAY_BENCH_DATA
names. Wanted on two CPU cores: under 60 s, peak under 1.5 GB. All processes of the run count: CPU seconds of the whole
tree from start to end, memory as the highest sum of their proportional set sizes, sampled twice a second.
"""

import json
import tempfile
from pathlib import Path

from measure import assay, data_folder, finish

CONFIG = """
name: bench-curate
pipeline: curate
skip: [judge]
ingest: {{sources: [{{name: t0, path: "{path}"}}]}}
scrub: {{demo_key: true}}
"""


def main() -> None:
    data = data_folder("curate", "t0.jsonl.gz")
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "curate.yaml"
        config.write_text(CONFIG.format(path=data.resolve() / "t0.jsonl.gz"))
        cost = assay("run", str(config), "--workers", "2", "--json", state=Path(folder) / "state")
    stages = json.loads(cost.stdout)["stages"]
    costs = f"{'seconds':>8} {'CPU s':>8} {'rows/s':>8} {'rows/CPU s':>10}"
    print(f"{'stage':12} {'in':>8} {'out':>8} {costs}  dropped and set aside for")
    for s in stages:
        gone = (f"{r['reason']} {r['rows']}" for r in s["reasons"] if r["verdict"] != "flagged")
        speed = f"{s['rows_per_second']:8.0f}" if s["rows_per_second"] else f"{'-':>8}"
        per_cpu = f"{round(s['rows_in'] / s['cpu_seconds'], -2):,.0f}" if s["cpu_seconds"] else "-"
        counts = f"{s['rows_in'] + s['created']:8} {s['rows_out']:8}"
        costs = f"{s['seconds']:8.1f} {s['cpu_seconds']:8.1f} {speed} {per_cpu:>10}"
        print(f"{s['stage']:12} {counts} {costs}  {', '.join(gone)}")
    print(f"whole run    {cost.seconds:.1f} s, {cost.cpu_seconds:.1f} CPU s, peak {cost.tree_mb:.0f} MB")
    figures = {
        "seconds": round(cost.seconds, 1),
        "cpu_seconds": round(cost.cpu_seconds, 1),
        "peak_mb": round(cost.tree_mb),
        "rows_in": stages[0]["rows_in"],
        "rows_out": stages[-1]["rows_out"],
        "rows_per_second": {s["stage"]: round(s["rows_per_second"] or 0) for s in stages},
    }
    finish("curate", figures, {"under 60 s": cost.seconds < 60, "peak under 1.5 GB": cost.tree_mb < 1_500})


if __name__ == "__main__":
    main()
