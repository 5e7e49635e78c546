"""The main job on real rows: GSM8K curated, a scratch model trained and evaluated on it for a few minutes.

Data: `gsm8k_train.jsonl` (MIT) in the folder that ASSAY_BENCH_DATA names. A model of a million weights that has seen
generated sentences only can't do arithmetic: exact match near zero is the honest result. What is measured is that the
job ends, what each stage did, and what it cost. Wanted: a registered version; held-out perplexity falls.
"""

import json
import tempfile
from pathlib import Path

from measure import assay, data_folder, finish

CONFIG = """
name: bench-gsm8k
ingest:
  sources: [{{name: gsm8k, path: "{path}", licence: MIT}}]
split: {{validation: 0.03, test: 0.05}}
scrub: {{demo_key: true}}
base: {{model: "examples.toy_base.build:build", num_threads: 2}}
train:
  weights: {{kind: full}}
  learning_rate: 2.0e-3
  max_steps: 300
  per_device_train_batch_size: 16
  max_length: 512
  group_by_length: true
  num_threads: 2
evaluate:
  max_rows: 200
  num_threads: 2
  controls:
    - {{name: general, kind: perplexity, path: examples/controls/general.jsonl}}
gate: {{metric: exact_match}}
registry: {{name: gsm8k-scratch}}
"""


def main() -> None:
    data = data_folder("gsm8k", "gsm8k_train.jsonl")
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "gsm8k.yaml"
        config.write_text(CONFIG.format(path=data.resolve() / "gsm8k_train.jsonl"))
        cost = assay("run", str(config), "--workers", "2", "--json", state=Path(folder) / "state")
        record = json.loads(cost.stdout)
        uris = {a["type"]: Path(a["uri"]) for a in record["artifacts"]}
        comparison = json.loads((uris["comparison"] / "value.json").read_text())
        reports = [
            json.loads((Path(a["uri"]) / "report.json").read_text())
            for a in record["artifacts"]
            if a["type"] == "stage_report"
        ]
    for r in reports:
        print(f"{r['stage']:12} in {r['rows_in']:6} kept {r['kept']:6} {r['seconds']:7.1f} s  {r['dropped_by']}")
    scores = {}
    for d in comparison["differences"]:
        base, tuned = d["reference"], d["candidate"]
        name = f"{d['task']}/{d['metric']}"
        scores[name] = [round(base["value"], 4), round(tuned["value"], 4)]
        print(f"{name:32} base {base['value']:9.3f}  tuned {tuned['value']:9.3f}  n {base['n']}")
    fell = scores["held_out/perplexity"][1] < scores["held_out/perplexity"][0]
    figures = {"seconds": round(cost.seconds, 1), "peak_mb": round(cost.peak_mb), "base_and_tuned": scores}
    figures["status"] = record["registration"]["status"]
    wanted = {"registered": bool(record["registration"]["version"]), "held-out perplexity fell": fell}
    finish("gsm8k", figures, wanted)


if __name__ == "__main__":
    main()
