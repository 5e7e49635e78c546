"""Curation without a judge of 55,185 prompt/completion rows (65 MB), as a process of its own.

Data: `t0.jsonl.gz`, the T0 sample of the self-instruct repository (Apache-2.0), in the folder that ASSAY_BENCH_DATA
names. Wanted on two CPU cores: under 6 minutes, peak under 2 GB.
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
scrub: {{demo_key: true, workers: 2}}
"""


def main() -> None:
    data = data_folder("curate", "t0.jsonl.gz")
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "curate.yaml"
        config.write_text(CONFIG.format(path=data.resolve() / "t0.jsonl.gz"))
        cost = assay("run", str(config), "--json", state=Path(folder) / "state")
        record = json.loads(cost.stdout)
        reports = [
            json.loads((Path(a["uri"]) / "report.json").read_text())
            for a in record["artifacts"]
            if a["type"] == "stage_report"
        ]
    print(f"{'stage':12} {'in':>8} {'kept':>8} {'seconds':>8} {'CPU s':>8} {'rows/s':>8}  dropped for")
    for r in reports:
        speed = r["rows_in"] / r["seconds"]
        why = ", ".join(f"{k} {v}" for k, v in r["dropped_by"].items())
        print(
            f"{r['stage']:12} {r['rows_in']:8} {r['kept']:8} {r['seconds']:8.1f} {r['cpu_seconds']:8.1f}"
            f" {speed:8.0f}  {why}"
        )
    figures = {
        "seconds": round(cost.seconds, 1),
        "cpu_seconds": round(cost.cpu_seconds, 1),
        "peak_mb": round(cost.peak_mb),
        "rows_in": reports[0]["rows_in"],
        "rows_out": reports[-1]["kept"],
    }
    finish("curate", figures, {"under 360 s": cost.seconds < 360, "peak under 2 GB": cost.peak_mb < 2_000})


if __name__ == "__main__":
    main()
