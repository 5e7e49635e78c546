"""Whether a change of the code changed a number: runs a config from nothing and compares every digest with kept ones.

`python benchmarks/digests.py smoke quickstart gsm8k` (gsm8k: with ASSAY_BENCH_DATA). Compared are each dataset
version's digest, the SHA-256 of each file of weights, and a digest of all prompts, answers and scores per subject, with
`benchmarks/digests/NAME.json`. `--keep` writes that file instead: only where a change of numbers is meant.

Dataset versions are equal on every machine. Weights and answers are equal on processors that round alike, so they are
compared where the processor is the one of the kept file, and left out with a word elsewhere.
"""

import argparse
import json
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import bench_gsm8k
import pyarrow.parquet as pq
import torch
from measure import ROOT, assay, data_folder

from steps.contracts.digests import value_digest

KEPT = ROOT / "benchmarks" / "digests"
CONFIGS = ("smoke", "quickstart", "gsm8k")
_FLOATS = ("weights", "answers")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="+", choices=CONFIGS)
    parser.add_argument("--keep", action="store_true", help="write the digests instead of comparing them")
    wanted = parser.parse_args()
    equal = True
    for name in wanted.names:
        found = run(name)
        file = KEPT / f"{name}.json"
        if wanted.keep:
            file.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
            print(f"{name}: kept {file.relative_to(ROOT)}")
        else:
            equal = compared(name, json.loads(file.read_text()), found) and equal
    sys.exit(0 if equal else 1)


def run(name: str) -> dict[str, Any]:
    """The digests of one run in a state folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        config = ROOT / "configs" / "runs" / f"{name}.yaml"
        if name == "gsm8k":
            data = data_folder(name, "gsm8k_train.jsonl").resolve()
            config = Path(folder) / "gsm8k.yaml"
            config.write_text(bench_gsm8k.CONFIG.format(path=data / "gsm8k_train.jsonl"))
        cost = assay("run", str(config), "--json", state=Path(folder) / "state")
        return {"processor": processor(), **digests(json.loads(cost.stdout)["artifacts"])}


def processor() -> str:
    """What decides how floats are rounded: the architecture and the instructions that torch uses."""
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def digests(artifacts: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """By kind and name: datasets, weights (model/file) and answers."""
    found: dict[str, dict[str, str]] = {"datasets": {}, "weights": {}, "answers": {}}
    for artifact in artifacts:
        uri = Path(artifact["uri"])
        if artifact["type"] == "dataset":
            found["datasets"][artifact["name"]] = artifact["digest"]
        elif artifact["type"] == "model":
            files = json.loads((uri / "model.json").read_text())["files"]
            weights = {f: sha for f, sha in files.items() if f.endswith(".safetensors")}
            found["weights"] |= {f"{artifact['name']}/{f}": sha for f, sha in weights.items()}
        elif artifact["type"] == "answers":
            rows = pq.read_table(uri / "answers.parquet").to_pylist()
            found["answers"][artifact["name"].removeprefix("answers_")] = value_digest(rows)
    return found


def compared(name: str, kept: dict[str, Any], found: dict[str, Any]) -> bool:
    """Say what differs; true when nothing does."""
    kinds = [k for k in kept if k != "processor"]
    if kept["processor"] != found["processor"]:
        print(f"{name}: {', '.join(_FLOATS)} not compared: kept on {kept['processor']}, this is {found['processor']}")
        kinds = [k for k in kinds if k not in _FLOATS]
    count = 0
    different = []
    for kind in kinds:
        for key in sorted(kept[kind].keys() | found[kind].keys()):
            count += 1
            if kept[kind].get(key) != found[kind].get(key):
                different.append(f"{name}: {kind} {key}: kept {kept[kind].get(key)}, found {found[kind].get(key)}")
    print("\n".join(different) or f"{name}: {count} digests are equal ({', '.join(kinds)})")
    return not different


if __name__ == "__main__":
    main()
