"""Answers of an evaluation by assay's decoder and by transformers' `generate`, as assay had them before: CPU seconds.

The quickstart's base of a million weights, whose answers end by themselves, and a Llama of 20 million random ones,
whose answers end by their room. Both answer the quickstart's mails, as they are and with eight solved ones in front of
each (few-shot), greedily, in batches of 64, one thread, both ways in turns; the answers must be equal.
"""

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from bench_serving import make
from measure import ROOT, finish

sys.path.insert(0, str(ROOT))
from examples.toy_base.build import build
from examples.toy_base.options import ToyOptions
from steps.engines.lm.generate import Generated, generate
from steps.engines.lm.load import LoadedModel
from steps.engines.lm.threads import torch_threads

WANTED = 3.0
ROOM, BATCH, SHOTS = 46, 64, 8


def prompts(tokenizer: "object", count: int, shots: int) -> list[str]:
    """Mails of the quickstart as the model's template puts them, behind so many that are answered."""
    rows: list[list[dict[str, str]]] = []
    for line in (ROOT / "examples/quickstart/messages.jsonl").read_text().splitlines():
        # Some lines are broken on purpose.
        with contextlib.suppress(ValueError, TypeError, KeyError):
            rows.append(json.loads(line)["messages"])
    rows = [row for row in rows if [turn.get("role") for turn in row] == ["user", "assistant"]]
    before = [turn for row in rows[:shots] for turn in row]
    asked = [before + row[:1] for row in rows[shots : shots + count]]
    return [tokenizer.apply_chat_template(one, tokenize=False, add_generation_prompt=True) for one in asked]  # type: ignore[attr-defined]


def seconds(loaded: LoadedModel, asked: list[str], ours: bool) -> tuple[float, list[Generated]]:
    """CPU seconds of the answers, and those."""
    ours_too: Callable[..., bool] = lambda *_: False  # noqa: E731
    begun = time.process_time()
    if ours:
        said = generate(loaded, asked, max_new_tokens=ROOM, batch_size=BATCH)
    else:
        with patch("steps.engines.lm.decoder.decodable", ours_too):
            said = generate(loaded, asked, max_new_tokens=ROOM, batch_size=BATCH)
    return time.process_time() - begun, said


def compared(loaded: LoadedModel, asked: list[str], rounds: int) -> dict[str, float]:
    """Seconds of both ways, and how many times faster ours is; how many answers aren't equal."""
    found: dict[bool, list[float]] = {True: [], False: []}
    unequal = 0
    for turn in range(rounds):
        said = {}
        for ours in (True, False) if turn % 2 else (False, True):
            spent, said[ours] = seconds(loaded, asked, ours)
            found[ours].append(spent)
        unequal += sum(a != b for a, b in zip(said[True], said[False], strict=True))
    shares = [before / now for now, before in zip(found[True], found[False], strict=True)]
    return {
        "ours_s": round(statistics.median(found[True]), 2), "before_s": round(statistics.median(found[False]), 2),
        "times": round(statistics.median(shares), 2), "unequal": unequal,
    }  # fmt: skip


def main() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=256)
    given = parser.parse_args()
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, torch_threads(1):
        for name in ("toy", "random"):
            path = Path(folder) / name
            build(ToyOptions(), 0, 2, path) if name == "toy" else make(path)
            loaded = LoadedModel(
                AutoModelForCausalLM.from_pretrained(path).eval(), AutoTokenizer.from_pretrained(path), "cpu"
            )
            for shots in (0, SHOTS):
                count = given.prompts // (8 if name == "random" else 1)
                found = compared(loaded, prompts(loaded.tokenizer, count, shots), given.rounds)
                print(f"{name}, {shots} examples, {count} prompts: {found}")
                figures |= {f"{name}_{shots}_{key}": value for key, value in found.items()}
    good = {key: value >= WANTED for key, value in figures.items() if key.endswith("times")}
    finish("evaluate", figures, {**good, "equal": not any(v for k, v in figures.items() if k.endswith("unequal"))})


if __name__ == "__main__":
    main()
