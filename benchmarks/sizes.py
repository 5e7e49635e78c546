"""The tables of docs/sizes.md: `python benchmarks/sizes.py` prints them, `--write` puts them into the page.

Of curation the arithmetic goes from what benchmarks/README.md measured; of models from the estimate that train makes
before it reads a weight, on shapes of published models.
"""

import argparse
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from steps.contracts.humanize import duration
from steps.train.config import TrainConfig
from steps.train.memory_estimate import estimate, model_shape
from steps.train.settings import Plan

PAGE = Path(__file__).resolve().parent.parent / "docs" / "sizes.md"
# `make bench-curate`: 55,185 rows of 65 MB through all stages but a judge; CPU seconds, start-up included.
_CURATED, _CURATE_CPU, _CURATED_MB = 55_185, 25.7, 65
# `make bench-dedup`: a million rows, CPU seconds; its memory from docs/stages/dedup.md, bytes per row.
_DEDUPED, _DEDUP_CPU, _DEDUP_BYTES = 1_000_000, 20.4, 500
_ROWS = (10_000, 1_000_000, 10_000_000, 100_000_000, 300_000_000)
_CORES = 64
# Layers, width, width between, heads, heads of keys, vocabulary, whether the head is the embedding: Llama 3.2 and 3.1.
_MODELS = {
    "1B": (16, 2_048, 8_192, 32, 8, 128_256, True),
    "3B": (28, 3_072, 8_192, 24, 8, 128_256, True),
    "8B": (32, 4_096, 14_336, 32, 8, 128_256, False),
    "70B": (80, 8_192, 28_672, 64, 8, 128_256, False),
}
_WAYS = {
    "LoRA, r 16": {"weights": {"kind": "lora", "r": 16}},
    "all weights, Adafactor": {"weights": {"kind": "full"}, "optim": "adafactor"},
    "all weights, AdamW": {"weights": {"kind": "full"}},
}
_CARDS = (16, 24, 40, 48, 80, 141)


def curation() -> Iterator[str]:
    """A line per number of rows."""
    yield _line(["rows", "text", "CPU time of curation", f"on {_CORES} cores", "of it dedup", "memory of dedup"])
    yield _line(["---:"] * 6)
    for rows in _ROWS:
        cpu = rows * _CURATE_CPU / _CURATED
        dedup = rows * _DEDUP_CPU / _DEDUPED
        spread = dedup + (cpu - dedup) / _CORES
        text = rows * _CURATED_MB / _CURATED / 1000
        values = [f"{text:,.2f} GB", duration(cpu), duration(spread), duration(dedup)]
        yield _line([f"{rows:,}", *values, f"{rows * _DEDUP_BYTES / 1e9:,.2f} GB"])


def models() -> Iterator[str]:
    """A line per model: GiB at the peak and the smallest card that holds it."""
    yield _line(["model", *_WAYS])
    yield _line(["---", *["---:"] * len(_WAYS)])
    for name, shape in _MODELS.items():
        with tempfile.TemporaryDirectory() as scratch:
            _describe(Path(scratch), shape)
            yield _line([name, *(_needed(Path(scratch), TrainConfig.model_validate(way)) for way in _said(_WAYS))])


def _said(ways: dict[str, dict[str, object]]) -> Iterable[dict[str, object]]:
    return ({**way, "max_length": 2_048, "per_device_train_batch_size": 1} for way in ways.values())


def _describe(folder: Path, shape: tuple[int, int, int, int, int, int, bool]) -> None:
    from transformers import LlamaConfig

    layers, width, between, heads, keys, vocabulary, tied = shape
    LlamaConfig(
        num_hidden_layers=layers, hidden_size=width, intermediate_size=between, num_attention_heads=heads,
        num_key_value_heads=keys, vocab_size=vocabulary, tie_word_embeddings=tied, max_position_embeddings=131_072,
        architectures=["LlamaForCausalLM"],
    ).save_pretrained(folder)  # fmt: skip


def _needed(folder: Path, config: TrainConfig) -> str:
    """As on a GPU: adapters on weights in bfloat16, all weights in float32 with autocast."""
    dtype = "bfloat16" if config.weights.kind == "lora" else "float32"
    plan = Plan("cuda", dtype, True, True, "fused", 1e-4)
    gib = estimate(model_shape(folder, config), config, plan).total / 2**30
    card = next((f", {c} GB card" for c in _CARDS if gib * 2**30 <= c * 1e9), ", no single card")
    return f"{gib:,.1f} GiB{card}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def written(page: str, tables: dict[str, str]) -> str:
    """The page with these tables between their marks."""
    for name, table in tables.items():
        marks = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        page = re.sub(marks, lambda m, t=table: f"{m.group(1)}{t}\n{m.group(2)}", page, flags=re.S)
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/sizes.md")
    tables = {"curation": "\n".join(curation()), "models": "\n".join(models())}
    if parser.parse_args().write:
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), tables), encoding="utf-8")
    else:
        print("\n\n".join(tables.values()))


if __name__ == "__main__":
    main()
