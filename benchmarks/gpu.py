"""Training on a GPU, in ten minutes at most, without a network: speed, memory against the plan, resume, precision.

`python benchmarks/gpu.py --out gpu.json` on a machine with a GPU and torch, transformers, trl, peft, datasets and
pydantic (no ZenML). Weights are random, shapes are real: Qwen2.5-0.5B and Llama 3.1 8B, full sequences of 2,048 tokens.
Parts run in the order of their worth, and the file is written after each; a part that lacks a package, memory or time
says so and is skipped. `--tiny` takes toy shapes, and runs on a CPU too: that tests the script and measures nothing.

Of each training: tokens per second of our loop and of a plain torch loop over the same batches (median step, after two
steps of warm-up); MFU, as 6 (trained) or 4 (frozen) operations per weight and token by the peak of the card's table,
recomputed activations not counted; peak memory beside the estimate that `assay plan` prints.
"""

import argparse
import hashlib
import importlib.util
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForCausalLM,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    TrainerCallback,
)

from steps.engines.progress.progress import Progress  # noqa: E402
from steps.train.config import TrainConfig  # noqa: E402
from steps.train.memory_estimate import estimate, shape_of  # noqa: E402
from steps.train.objectives.objective import TrainerParts  # noqa: E402
from steps.train.objectives.registry import objective_of  # noqa: E402
from steps.train.plan import plan_for  # noqa: E402
from steps.train.planning.devices import device_like  # noqa: E402
from steps.train.settings import Plan  # noqa: E402
from steps.train.trainer import Recorder, torch_settings  # noqa: E402
from steps.train.weights.registry import weights_of  # noqa: E402

SECONDS = 600
WARM_UP, STEPS = 2, 8


class Skipped(Exception):
    """Why a part didn't run."""


@dataclass
class Bench:
    """Where and how: `device` cuda or cpu; `tiny`: toy shapes; `until`: the end by time.monotonic()."""

    device: str
    tiny: bool
    until: float
    folder: Path

    @property
    def length(self) -> int:
        """Tokens of a sequence."""
        return 64 if self.tiny else 2_048

    def small(self) -> Any:
        """Qwen2.5-0.5B's shape."""
        if self.tiny:
            return Qwen2Config(**TOY, max_position_embeddings=128)
        return Qwen2Config(
            vocab_size=151_936, hidden_size=896, intermediate_size=4_864, num_hidden_layers=24, num_attention_heads=14,
            num_key_value_heads=2, max_position_embeddings=32_768, tie_word_embeddings=True,
        )  # fmt: skip

    def large(self) -> Any:
        """Llama 3.1 8B's shape."""
        if self.tiny:
            return LlamaConfig(**TOY, max_position_embeddings=128)
        return LlamaConfig(
            vocab_size=128_256, hidden_size=4_096, intermediate_size=14_336, num_hidden_layers=32,
            num_attention_heads=32, num_key_value_heads=8, max_position_embeddings=131_072, tie_word_embeddings=False,
        )  # fmt: skip

    def config(self, weights: str, rows: int, **more: Any) -> TrainConfig:
        """A phase of STEPS steps after the warm-up."""
        return TrainConfig.model_validate({
            "weights": {"kind": weights}, "learning_rate": 1e-4, "max_steps": WARM_UP + STEPS,
            "max_length": self.length, "per_device_train_batch_size": 2 if self.tiny else rows,
            "logging_steps": 1, "save_steps": 10_000, "device": self.device, **more,
        })  # fmt: skip

    def plan(self, config: TrainConfig, vocab: int) -> Plan:
        """What auto means here."""
        cuda = self.device == "cuda"
        return plan_for(
            config, vocab, self.device, gpu_bf16=cuda and torch.cuda.is_bf16_supported(including_emulation=False)
        )  # type: ignore[arg-type]


TOY = {
    "vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "tie_word_embeddings": True,
}  # fmt: skip


def model_of(shape: Any, plan: Plan, bench: Bench, attention: str = "sdpa") -> Any:
    """Random weights, made on the device."""
    torch.manual_seed(0)
    with torch.device(bench.device):
        return AutoModelForCausalLM.from_config(shape, dtype=getattr(torch, plan.dtype), attn_implementation=attention)


def tokenizer() -> Any:
    """Trainers want one; it says nothing of the vocabulary."""
    from tokenizers import Tokenizer, models

    made = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "b": 1}, "a")))
    made.pad_token, made.eos_token = "a", "b"
    return made


def rows_of(bench: Bench, vocab: int, count: int) -> Any:
    """Full sequences of random tokens, all trained."""
    import datasets

    from steps.train.encoding import Encoding
    from steps.train.objectives.objective import EncodedRows

    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(2, vocab, (count, bench.length), generator=generator).tolist()
    rows = datasets.Dataset.from_dict({"input_ids": ids, "labels": ids, "length": [bench.length] * count})
    return EncodedRows(rows, None, Encoding(), None)


class Pace(TrainerCallback):
    """Seconds of each optimizer step, all that lies between it and the one before included."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.seconds, self._last = bench, [], 0.0
        self.losses: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """The clock runs."""
        self._last = clock(self.bench)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A step is done; training ends when time is up."""
        now = clock(self.bench)
        self.seconds.append(now - self._last)
        self._last = now
        control.should_training_stop = time.monotonic() > self.bench.until

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """The loss of a step."""
        if "loss" in (logs or {}):
            self.losses.append(logs["loss"])


def clock(bench: Bench) -> float:
    """Seconds when all that was asked of the device is done; on a CPU those that this process used."""
    if bench.device != "cuda":
        return time.process_time()
    torch.cuda.synchronize()
    return time.monotonic()


@contextmanager
def peak(bench: Bench) -> Iterator[dict[str, float]]:
    """Bytes that were allocated at the most in the block, as `peak_gib`; nothing on a CPU."""
    import gc

    found: dict[str, float] = {}
    gc.collect()
    if bench.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    yield found
    if bench.device == "cuda":
        found["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30


def ours(
    bench: Bench,
    model: Any,
    config: TrainConfig,
    plan: Plan,
    folder: Path,
    resume: Path | None = None,
    pace: Pace | None = None,
) -> Any:
    """Train by assay's own trainer; gives it with its Pace."""
    vocab = model.config.vocab_size
    count = config.per_device_train_batch_size * config.gradient_accumulation_steps * (config.max_steps or 1)
    pace = pace or Pace(bench)
    with torch_settings(config.num_threads):
        recorder = Recorder(config, Progress("gpu"), None, 0)
        parts = TrainerParts(
            model, tokenizer(), rows_of(bench, vocab, count), config, plan,
            weights_of(config.weights).peft_config(model), folder, recorder,
        )  # fmt: skip
        trainer = objective_of(config.objective).trainer(parts)
        trainer.add_callback(pace)
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    return trainer, pace


def attached(model: Any, config: TrainConfig) -> Any:
    """With an adapter, where that is what is trained."""
    from peft import get_peft_model

    adapter = weights_of(config.weights).peft_config(model)
    return model if adapter is None else get_peft_model(model, adapter)


def plainly(bench: Bench, model: Any, config: TrainConfig, plan: Plan) -> list[float]:
    """The same batches by a loop of torch alone: seconds of each step."""
    with torch_settings(config.num_threads):
        return list(plain_steps(bench, model, config, plan))


def plain_steps(bench: Bench, model: Any, config: TrainConfig, plan: Plan) -> Iterator[float]:
    """The same batches by a loop of torch alone, step by step as they are asked for: the seconds of each."""
    vocab, size = model.config.vocab_size, config.per_device_train_batch_size
    rows = rows_of(bench, vocab, size * (config.max_steps or 1)).train
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=plan.learning_rate, weight_decay=0.0, fused=True)
    if plan.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    for step in range(config.max_steps or 1):
        if time.monotonic() > bench.until:
            break
        start = clock(bench)
        ids = torch.tensor(rows[step * size : (step + 1) * size]["input_ids"], device=bench.device)
        with torch.autocast(bench.device, torch.bfloat16, enabled=plan.bf16):
            loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, config.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        yield clock(bench) - start


def rate(bench: Bench, config: TrainConfig, seconds: list[float]) -> float:
    """Tokens per second."""
    if len(seconds) <= WARM_UP:
        raise Skipped("no time for a step after the warm-up")
    tokens = config.per_device_train_batch_size * config.gradient_accumulation_steps * bench.length
    return tokens / statistics.median(seconds[WARM_UP:])


def training(
    bench: Bench, shape: Any, weights: str, rows: int, attention: str = "sdpa", plain: bool = True
) -> dict[str, Any]:
    """One kind of training: speed of both loops, MFU, memory beside its estimate."""
    config = bench.config(weights, rows)
    plan = bench.plan(config, shape.vocab_size)
    with torch.device("meta"):
        counted = shape_of(AutoModelForCausalLM.from_config(shape), config)
    planned = estimate(counted, config, plan)
    with peak(bench) as memory:
        trainer, pace = ours(bench, model_of(shape, plan, bench, attention), config, plan, bench.folder / weights)
    found: dict[str, Any] = {
        "weights": weights, "attention": attention, "rows": config.per_device_train_batch_size, "length": bench.length,
        "parameters": counted.parameters, "trained": counted.trainable, "bf16": plan.bf16, "dtype": plan.dtype,
        "gradient_checkpointing": plan.gradient_checkpointing, "tokens_per_second": rate(bench, config, pace.seconds),
        **memory, "estimate_gib": planned.total / 2**30, "estimate_counted_gib": planned.counted / 2**30,
    }  # fmt: skip
    card = device_like(torch.cuda.get_device_name()) if bench.device == "cuda" else None
    if card is not None:
        operations = 4 * counted.parameters + 2 * counted.trainable
        found["mfu"] = found["tokens_per_second"] * operations / card.peak(plan)
    if plain:
        del trainer
        model = attached(model_of(shape, plan, bench, attention), config)
        found["plain_tokens_per_second"] = rate(bench, config, plainly(bench, model, config, plan))
        found["of_plain"] = found["tokens_per_second"] / found["plain_tokens_per_second"]
    return found


def full_small(bench: Bench) -> dict[str, Any]:
    """0.5B, all weights."""
    return training(bench, bench.small(), "full", 8)


def lora_large(bench: Bench) -> dict[str, Any]:
    """8B, LoRA over bfloat16 weights."""
    needs_memory(bench, 40)
    return training(bench, bench.large(), "lora", 2)


def qlora_large(bench: Bench) -> dict[str, Any]:
    """8B, LoRA over weights in 4 bits."""
    needs(bench, "bitsandbytes")
    needs_memory(bench, 24)
    from peft import get_peft_model, prepare_model_for_kbit_training

    config = bench.config("lora", 2)
    plan = bench.plan(config, bench.large().vocab_size)
    with peak(bench) as memory:
        model = in_four_bits(bench.large(), bench)
        prepared = prepare_model_for_kbit_training(model, use_gradient_checkpointing=plan.gradient_checkpointing)
        adapter = weights_of(config.weights).peft_config(prepared)
        seconds = plainly(bench, get_peft_model(prepared, adapter), config, plan)
    return {"plain_tokens_per_second": rate(bench, config, seconds), **memory}


def in_four_bits(shape: Any, bench: Bench) -> Any:
    """Random weights in nf4 with double quantisation, made a layer at a time: never all of them in 16 bits."""
    import bitsandbytes as bnb

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(shape, dtype=torch.bfloat16)
    places = [(m, n, c) for m in model.modules() for n, c in m.named_children() if isinstance(c, torch.nn.Linear)]
    for parent, name, linear in places:
        if linear is model.lm_head:
            continue
        packed = bnb.nn.Linear4bit(
            linear.in_features, linear.out_features, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4",
            compress_statistics=True,
        )  # fmt: skip
        values = torch.randn(linear.out_features, linear.in_features, dtype=torch.bfloat16) * 0.02
        packed.weight = bnb.nn.Params4bit(values, requires_grad=False, quant_type="nf4", compress_statistics=True)
        setattr(parent, name, packed.to(bench.device))
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            if weight.is_meta:
                made = torch.randn(weight.shape, dtype=torch.bfloat16, device=bench.device) * 0.02
                setattr(module, name, torch.nn.Parameter(made))
    # Frequencies of positions, which are computed and not stored.
    model.model.rotary_emb = type(model.model.rotary_emb)(shape).to(bench.device)
    model.is_loaded_in_4bit = model.is_quantized = True
    return model


def resume(bench: Bench) -> dict[str, Any]:
    """Weights of a run that was resumed in its midst against those of one that wasn't."""
    shape = Qwen2Config(**TOY, max_position_embeddings=128)
    found = {}
    for weights in ("full", "lora"):
        config = bench.config(weights, 2, max_steps=8, save_steps=4, max_length=64)
        plan = bench.plan(config, shape.vocab_size)
        folder = bench.folder / f"resume-{weights}"
        straight, _ = ours(bench, model_of(shape, plan, bench), config, plan, folder)
        again, _ = ours(bench, model_of(shape, plan, bench), config, plan, folder, folder / "checkpoint-4")
        found[f"{weights}_bitwise_equal"] = digest(straight.model) == digest(again.model)
    return found


def digest(model: Any) -> str:
    """SHA-256 of all weights."""
    sha = hashlib.sha256()
    for _, weight in sorted(model.named_parameters()):
        sha.update(weight.detach().float().cpu().numpy().tobytes())
    return sha.hexdigest()


def flash(bench: Bench) -> dict[str, Any]:
    """Flash attention against torch's own, over the same full sequences."""
    needs(bench, "flash_attn")
    return {
        "flash": training(bench, bench.small(), "full", 8, "flash_attention_2", plain=False),
        "sdpa": training(bench, bench.small(), "full", 8, "sdpa", plain=False),
    }


def precisions(bench: Bench) -> dict[str, Any]:
    """Losses of the same steps in float32 and with bfloat16 autocast, and how fast they are."""
    found: dict[str, Any] = {}
    for name, bf16 in (("float32", False), ("bfloat16", True)):
        config = bench.config("full", 2, bf16=bf16, gradient_checkpointing=False)
        plan = bench.plan(config, bench.small().vocab_size)
        _, pace = ours(bench, model_of(bench.small(), plan, bench), config, plan, bench.folder / name)
        found[name] = {"tokens_per_second": rate(bench, config, pace.seconds), "losses": pace.losses}
    pairs = zip(found["float32"]["losses"], found["bfloat16"]["losses"], strict=False)
    found["largest_difference"] = max(abs(a - b) for a, b in pairs)
    return found


def needs(bench: Bench, package: str) -> None:
    """Skip the part where a package isn't there, or there is no GPU for it."""
    if importlib.util.find_spec(package) is None:
        raise Skipped(f"{package} isn't installed")
    if bench.device != "cuda" and not bench.tiny:
        raise Skipped(f"{package} needs a GPU")


def needs_memory(bench: Bench, gib: int) -> None:
    """Skip the part on a smaller card."""
    if not bench.tiny and (bench.device != "cuda" or torch.cuda.mem_get_info()[0] < gib * 2**30):
        raise Skipped(f"needs {gib} GiB of free GPU memory")


PARTS: tuple[Callable[[Bench], dict[str, Any]], ...] = (
    full_small, lora_large, qlora_large, resume, precisions, flash,
)  # fmt: skip


def machine(bench: Bench) -> dict[str, Any]:
    """What was measured on."""
    from importlib.metadata import version

    names = ("torch", "transformers", "trl", "peft", "accelerate")
    card = torch.cuda.get_device_name() if bench.device == "cuda" else None
    return {"card": card, "python": sys.version.split()[0], "tiny": bench.tiny, **{n: version(n) for n in names}}


def run(bench: Bench, out: Path) -> dict[str, Any]:
    """All parts; what is known so far is in `out` after each."""
    results: dict[str, Any] = {"machine": machine(bench)}
    for part in PARTS:
        began = time.monotonic()
        try:
            if began > bench.until:
                raise Skipped("the time is up")
            found = part(bench)
        except Skipped as e:
            found = {"skipped": str(e)}
        except Exception as e:  # noqa: BLE001 - the other parts are worth their figures
            found = {"failed": f"{type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}"[:300]}
        results[part.__name__] = {**found, "seconds": round(time.monotonic() - began, 1)}
        sys.stderr.write(f"{part.__name__}: {json.dumps(results[part.__name__])}\n")
        out.write_text(json.dumps(results, indent=1))
    return results


def main() -> None:
    """Measure, and print the results as one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="toy shapes, on a CPU too")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--seconds", type=float, default=SECONDS)
    given = parser.parse_args()
    if given.device == "cpu" and not given.tiny:
        sys.exit("no GPU here: --tiny tests this script on a CPU")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(given.device, given.tiny, time.monotonic() + given.seconds, Path(folder))
        results = run(bench, given.out)
    print(json.dumps(results))
    failed = [name for name, found in results.items() if "failed" in found]
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
