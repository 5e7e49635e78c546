"""What `assay audit` costs, and `--verify` beside `sha256sum` over the same files.

A run of the smoke config whose model has `--layers` of 16.8 M weights each, tuned whole, so that base, tuned weights
and the registry's copy are what there is to read. CPU seconds of whole processes, the lowest of `--repeats`; by the
clock only on a calm machine. Wanted: audit without `--verify` under 1 s, verification at 80 % of sha256sum's speed.
"""

import argparse
import json
import tempfile
from pathlib import Path

from measure import Cost, assay, finish, measured

CONFIG = "configs/runs/smoke.yaml"
SIZE = ["base.options.hidden_size=1024", "base.options.intermediate_size=4096", "base.options.steps=1"]
TINY = ["train.weights={kind: full}", "train.max_steps=1", "evaluate.max_rows=2", "evaluate.metrics=[loss]"]
RATIO = 0.8


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        made = [*SIZE, f"base.options.layers={wanted.layers}", *TINY]
        assay("run", CONFIG, *(word for setting in made for word in ("--set", setting)), state=state)
        files = evidence(state)
        gigabytes = sum(f.stat().st_size for f in files) / 1e9
        plain = lowest([assay("audit", "smoke", state=state) for _ in range(wanted.repeats)])
        verify = lowest([assay("audit", "smoke", "--verify", "--json", state=state) for _ in range(wanted.repeats)])
        assert json.loads(verify.stdout)["verification"]["ok"]
        peer = lowest([measured(["sha256sum", *map(str, files)]) for _ in range(wanted.repeats)])
    figures = {
        "gigabytes": round(gigabytes, 2),
        "files": len(files),
        "audit_cpu": round(plain.cpu_seconds, 2),
        "verify_cpu": round(verify.cpu_seconds, 2),
        "sha256sum_cpu": round(peer.cpu_seconds, 2),
        "verify_seconds": round(verify.seconds, 2),
        "sha256sum_seconds": round(peer.seconds, 2),
        "speed": round(peer.cpu_seconds / verify.cpu_seconds, 2),
    }
    finish("audit", figures, {"audit": plain.cpu_seconds < 1, "verify": figures["speed"] >= RATIO})


def evidence(state: Path) -> list[Path]:
    """The files of artifacts, of the registry and of the index."""
    found = [f for place in ("artifacts", "runs") for f in (state / place).rglob("*") if f.is_file()]
    return [f for f in found if f.suffix not in (".lock", ".db")]


def lowest(costs: list[Cost]) -> Cost:
    return min(costs, key=lambda c: c.cpu_seconds)


if __name__ == "__main__":
    main()
