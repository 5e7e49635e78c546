"""Whether a change of the code changed a number: runs a config from nothing and compares every digest with kept ones.

`python benchmarks/digests.py smoke quickstart gsm8k` (gsm8k: with ASSAY_BENCH_DATA). Compared are each dataset
version's digest, the SHA-256 of each file of weights, and a digest of all prompts, answers and scores per subject, with
`benchmarks/digests/NAME.json`. `--keep` writes that file instead: only where a change of numbers is meant.

Dataset versions are equal on every machine. Weights and answers are equal on machines that round alike, which a small
training tells: they are kept for each kind of machine that wrote the file, and left out with a word on any other.
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
from transformers import LlamaConfig, LlamaForCausalLM

from steps.contracts.digests import bytes_digest, value_digest

KEPT = ROOT / "benchmarks" / "digests"
CONFIGS = ("smoke", "quickstart", "gsm8k")
_FLOATS = ("weights", "answers")
# Chosen: enough that a difference in the last bit has gone into every weight.
_STEPS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="+", choices=CONFIGS)
    parser.add_argument("--keep", action="store_true", help="write the digests instead of comparing them")
    wanted = parser.parse_args()
    equal, here = True, machine()
    for name in wanted.names:
        found = run(name)
        file = KEPT / f"{name}.json"
        kept = json.loads(file.read_text())
        if wanted.keep:
            file.write_text(json.dumps(joined(kept, found, here), indent=1, sort_keys=True) + "\n")
            print(f"{name}: kept {file.relative_to(ROOT)}")
        else:
            equal = compared(name, kept, found, here) and equal
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
        return digests(json.loads(cost.stdout)["artifacts"])


def machine() -> str:
    """What this machine is called here: the instructions that torch uses, and how sums come out. Processors of one set
    of instructions may still round differently, by the kernels that libraries choose for them.
    """
    shape = {"hidden_size": 128, "intermediate_size": 320, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=2048, tie_word_embeddings=True, **shape))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    for step in range(_STEPS):
        ids = (torch.arange(8 * 96).reshape(8, 96) * (step + 7)) % 2048
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    whole = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()} {bytes_digest(whole)[:12]}"


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


def compared(name: str, kept: dict[str, Any], found: dict[str, Any], here: str) -> bool:
    """Say what differs; true when nothing does."""
    floats = kept["machines"].get(here)
    if floats is None:
        print(f"{name}: {', '.join(_FLOATS)} not compared: kept on {', '.join(kept['machines'])}, this is {here}")
    wanted = {"datasets": kept["datasets"], **(floats or {})}
    count = 0
    different = []
    for kind, values in wanted.items():
        for key in sorted(values.keys() | found[kind].keys()):
            count += 1
            if values.get(key) != found[kind].get(key):
                different.append(f"{name}: {kind} {key}: kept {values.get(key)}, found {found[kind].get(key)}")
    print("\n".join(different) or f"{name}: {count} digests are equal ({', '.join(wanted)})")
    return not different


def joined(kept: dict[str, Any], found: dict[str, Any], here: str) -> dict[str, Any]:
    """What is kept with this machine's: those of others stay where the datasets are the same."""
    same = kept.get("datasets") == found["datasets"]
    machines = kept["machines"] if same else {}
    return {"datasets": found["datasets"], "machines": {**machines, here: {k: found[k] for k in _FLOATS}}}


if __name__ == "__main__":
    main()
