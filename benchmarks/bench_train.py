"""assay's training loop against a plain loop of torch over the same batches, on a CPU: CPU time per step, one thread.

A Llama of 1.0 M weights (width 128, 4 layers, vocabulary of 2,048), float32, 8 full sequences of 256 tokens per step.
Both loops run in one process, step by step in turns, on the same thread; the first two steps of a round are left
out, of all others the sums are compared. All weights, and LoRA by peft.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from gpu import WARM_UP, Bench, Pace, attached, clock, model_of, ours, plain_steps
from transformers import LlamaConfig

from steps.train.config import TrainConfig

WANTED = 0.95
STEPS = 20
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


class InTurns(Pace):
    """After each step of ours one of plain torch: what slows the machine down for a while slows both down."""

    def __init__(self, bench: Bench, plain: Iterator[float]) -> None:
        super().__init__(bench)
        self.plain, self.plain_seconds = plain, []

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Ours is timed, then the other's is."""
        super().on_step_end(args, state, control, **given)
        self.plain_seconds.append(next(self.plain))
        self._last = clock(self.bench)


def compared(bench: Bench, weights: str, rounds: int) -> dict[str, Any]:
    """Milliseconds of CPU per step of both loops, and the share of plain torch's speed."""
    config = TrainConfig.model_validate({
        "weights": {"kind": weights}, "learning_rate": 1e-4, "max_steps": WARM_UP + STEPS, "max_length": bench.length,
        "per_device_train_batch_size": 8, "logging_steps": 10, "save_steps": 10_000, "device": "cpu",
    })  # fmt: skip
    shape = LlamaConfig(**SHAPE)
    plan = bench.plan(config, shape.vocab_size)
    mine: list[float] = []
    plains: list[float] = []
    shares: list[float] = []
    for turn in range(rounds):
        plain = plain_steps(bench, attached(model_of(shape, plan, bench), config), config, plan)
        pace = InTurns(bench, plain)
        ours(bench, model_of(shape, plan, bench), config, plan, bench.folder / f"{weights}{turn}", pace=pace)
        mine += pace.seconds[WARM_UP:]
        plains += pace.plain_seconds[WARM_UP:]
        shares.append(sum(pace.plain_seconds[WARM_UP:]) / sum(pace.seconds[WARM_UP:]))
    return {
        "ours": round(1_000 * statistics.mean(mine), 1), "plain": round(1_000 * statistics.mean(plains), 1),
        "of_plain": round(sum(plains) / sum(mine), 3), "rounds": [round(s, 3) for s in shares],
        "median_of_steps": round(statistics.median(p / o for o, p in zip(mine, plains, strict=True)), 3),
    }  # fmt: skip


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
