"""assay's training loop against a plain loop of torch over the same batches, on a CPU: CPU time per step, one thread.

A Llama of 1.0 M weights (width 128, 4 layers, vocabulary of 2,048), float32, 8 full sequences of 256 tokens per step.
Both loops run in one process, in turns (ours, plain, plain, ours ...); of a turn the fastest step after two of warm-up
(others on the machine only ever slow one down), of all turns the median of the shares. All weights, and LoRA by peft.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from gpu import WARM_UP, Bench, attached, model_of, ours, plainly
from transformers import LlamaConfig

from steps.train.config import TrainConfig

WANTED = 0.95
STEPS = 12
SHAPE: dict[str, Any] = {
    "vocab_size": 2_048, "hidden_size": 128, "intermediate_size": 320, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 4, "max_position_embeddings": 512, "tie_word_embeddings": True,
}  # fmt: skip


class CpuBench(Bench):
    """Sequences of 256 tokens."""

    @property
    def length(self) -> int:
        """Tokens of a sequence."""
        return 256


def compared(bench: Bench, weights: str, rounds: int) -> dict[str, Any]:
    """Milliseconds of CPU per step of both loops, and the share of plain torch's speed."""
    config = TrainConfig.model_validate({
        "weights": {"kind": weights}, "learning_rate": 1e-4, "max_steps": WARM_UP + STEPS, "max_length": bench.length,
        "per_device_train_batch_size": 8, "logging_steps": 10, "save_steps": 10_000, "device": "cpu",
    })  # fmt: skip
    shape = LlamaConfig(**SHAPE)
    plan = bench.plan(config, shape.vocab_size)
    found: dict[str, list[float]] = {"ours": [], "plain": []}
    for turn in range(rounds):
        for which in ("ours", "plain") if turn % 2 == 0 else ("plain", "ours"):
            model = model_of(shape, plan, bench)
            if which == "ours":
                folder = bench.folder / f"{weights}{turn}"
                seconds = ours(bench, model, config, plan, folder)[1].seconds
            else:
                seconds = plainly(bench, attached(model, config), config, plan)
            found[which].append(1_000 * min(seconds[WARM_UP:]))
    shares = [p / o for o, p in zip(found["ours"], found["plain"], strict=True)]
    medians = {name: round(statistics.median(values), 1) for name, values in found.items()}
    return {**medians, "of_plain": round(statistics.median(shares), 3), "rounds": [round(s, 3) for s in shares]}


def main() -> None:
    """Measure, and print the results as one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=6)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = CpuBench("cpu", tiny=False, until=time.monotonic() + 3_600, folder=Path(folder))
        found = {weights: compared(bench, weights, given.rounds) for weights in ("full", "lora")}
    good = all(one["of_plain"] >= WANTED for one in found.values())
    print(json.dumps({**found, "wanted": WANTED, "pass": good}))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
