"""The losses of held-out rows and the answers to their prompts, as an evaluation has them and as assay had them before:
CPU seconds.

Before: losses in batches, every position through the head; answers by transformers' `generate`, in batches of equal
room, nothing known of them. Both in one process, one thread, in turns; answers must be equal, and losses within 1e-5 of
each other, since other shapes are computed.

The rows are the quickstart's mails, the models its base of a million weights and a Llama of 20 million random ones, in
batches of the quickstart's 64 rows and of 16, the default; each as it is (`base`: next to nothing of what it says is
right), and after a few steps on other mails (`tuned`). Then a quarter of them behind one system prompt that shows eight
solved mails; and the answers alone, without losses, to the bare prompts and behind solved ones in front of each
(few-shot): two of its own, and the same eight.
"""

import argparse
import contextlib
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from bench_serving import make
from measure import ROOT, finish

sys.path.insert(0, str(ROOT))
from examples.toy_base.build import build
from examples.toy_base.options import ToyOptions
from steps.contracts.records import Row, make_row, message
from steps.engines.lm.decoding import DecodingConfig
from steps.engines.lm.ends import stop_ids
from steps.engines.lm.generate import Generated, answer_ids
from steps.engines.lm.load import LoadedModel
from steps.engines.lm.loss import IGNORED
from steps.engines.lm.shapes import by_budget
from steps.engines.lm.threads import torch_threads
from steps.engines.subjects.local_model import Inference, LocalModel
from steps.engines.subjects.subject import Prompt

WANTED = 3.0
SHOTS = 8
# Mails that are asked, and rows of a pass: the quickstart's, and the default.
ROWS = {"toy": 402, "random": 128}
BATCHES = {"toy": 64, "random": 16}
# Of tuning: steps of 16 rows, and the learning rate.
TUNING = {"toy": (150, 1e-3), "random": (40, 1e-3)}
_MODULE = "steps.engines.subjects.local_model"


def mails() -> list[Row]:
    """The quickstart's, of one question and one answer."""
    found: list[Row] = []
    for number, line in enumerate((ROOT / "examples/quickstart/messages.jsonl").read_text().splitlines()):
        # Some lines are broken on purpose.
        with contextlib.suppress(ValueError, TypeError, KeyError):
            turns = [(turn["role"], turn["content"]) for turn in json.loads(line)["messages"]]
            if [role for role, _ in turns] == ["user", "assistant"]:
                told = [message(role, text) for role, text in turns]
                found.append(make_row(kind="conversation", source="mails", locator=str(number), raw=b"", messages=told))
    return found


def told(rows: Sequence[Row], shown: Sequence[Row]) -> list[Row]:
    """The rows behind a system prompt that shows how it is done."""
    solved = "\n\n".join(f"{m['content']}" for row in shown for m in row["messages"])
    return [{**row, "messages": [message("system", solved), *row["messages"]]} for row in rows]


def losses_before(
    loaded: LoadedModel, examples: list[tuple[list[int], list[int]]], *, batch_size: int, batch_tokens: int, **_: Any
) -> list[tuple[float, int]]:
    """Of whole logits."""
    order = sorted(range(len(examples)), key=lambda i: (len(examples[i][0]), examples[i][0]))
    found: dict[int, tuple[float, int]] = {}
    for batch in by_budget(order, [len(ids) for ids, _ in examples], rows=batch_size, tokens=batch_tokens):
        width = max(len(examples[i][0]) for i in batch)
        rows = [[*ids, *([0] * (width - len(ids)))] for ids, _ in (examples[i] for i in batch)]
        masks = [[1] * len(examples[i][0]) + [0] * (width - len(examples[i][0])) for i in batch]
        wanted = [[*labels, *([IGNORED] * (width - len(labels)))] for _, labels in (examples[i] for i in batch)]
        labels = torch.tensor(wanted)[:, 1:]
        counted = labels != IGNORED
        sums = torch.zeros(labels.shape, dtype=torch.float64)
        with torch.inference_mode():
            out = loaded.model(input_ids=torch.tensor(rows), attention_mask=torch.tensor(masks), use_cache=False)
            nll = torch.nn.functional.cross_entropy(out.logits[:, :-1][counted], labels[counted], reduction="none")
        sums[counted] = nll.double()
        found |= dict(zip(batch, zip(sums.sum(1).tolist(), counted.sum(1).tolist(), strict=True), strict=True))
    return [found[i] for i in range(len(examples))]


def answers_before(
    loaded: LoadedModel, prompts: list[str], *, max_new_tokens: Sequence[int], batch_size: int, batch_tokens: int,
    decoding: DecodingConfig, **_: Any,
) -> list[Generated]:  # fmt: skip
    """By transformers' `generate`, in batches of equal room."""
    ids = [loaded.tokenizer(p, add_special_tokens=False)["input_ids"] for p in prompts]
    order = sorted(range(len(prompts)), key=lambda i: (max_new_tokens[i], len(ids[i]), prompts[i]))
    found: dict[int, Generated] = {}
    for room, alike in groupby(order, key=max_new_tokens.__getitem__):
        for batch in by_budget(list(alike), [len(one) + room for one in ids], rows=batch_size, tokens=batch_tokens):
            options = {**decoding.in_force(), "max_new_tokens": room}
            said = answer_ids(loaded, [ids[i] for i in batch], options, stop_ids(loaded))
            texts = loaded.tokenizer.batch_decode(said, skip_special_tokens=False)
            found |= {i: Generated(text.strip(), len(one) == room, len(one))
                      for i, text, one in zip(batch, texts, said, strict=True)}  # fmt: skip
    return [found[i] for i in range(len(prompts))]


@contextlib.contextmanager
def as_before() -> Iterator[None]:
    """The code that assay had."""
    with (
        patch(f"{_MODULE}.token_losses", losses_before), patch(f"{_MODULE}.generate", answers_before),
        patch(f"{_MODULE}._TIMED", 0),
    ):  # fmt: skip
        yield


@dataclass(frozen=True)
class Measured:
    """What an evaluation found, and CPU seconds: of all, and of its losses."""

    losses: list[Any]
    answers: list[str | None]
    tokens: int
    seconds: float
    losses_seconds: float


def evaluated(model: LocalModel, rows: Sequence[Row], prompts: Sequence[Prompt], losses: bool) -> Measured:
    """Losses where they are asked for, then answers."""
    begun = time.process_time()
    found = model.losses(rows).rows if losses else []
    between = time.process_time()
    replies = model.answer(prompts, None)
    assert replies.tokens is not None
    return Measured(found, replies.texts, replies.tokens.answers, time.process_time() - begun, between - begun)


def compared(
    name: str, model: LocalModel, rows: Sequence[Row], rounds: int, shots: Sequence[Row] | None, own: int = 0
) -> dict[str, float]:
    """Seconds of both ways, how many times faster ours is, and how many answers and losses aren't equal. `shots`: what
    is solved in front of each prompt, without losses, or so many of its `own`; None: losses too.
    """
    solved = [f"{p.text}{p.turn or p.reference}\n" for p in model.prompts(shots or []).prompts if p]
    asked = [p for p in model.prompts(rows).prompts if p]
    before = ["".join(solved[n * own : (n + 1) * own] if own else solved) for n in range(len(asked))]
    prompts = [Prompt(shown + p.text, p.reference, p.turn) for shown, p in zip(before, asked, strict=True)]
    found: dict[bool, list[Measured]] = {True: [], False: []}
    for turn in range(rounds):
        for ours in (True, False) if turn % 2 else (False, True):
            with contextlib.nullcontext() if ours else as_before():
                found[ours].append(evaluated(model, rows, prompts, losses=shots is None))
    pairs = list(zip(found[True], found[False], strict=True))
    unequal = sum(x != y for now, old in pairs for x, y in zip(now.answers, old.answers, strict=True))
    right = sum(a == p.reference for a, p in zip(found[True][0].answers, prompts, strict=True))
    unequal += sum(
        not math.isclose(x[0], y[0], rel_tol=1e-5) or x[1] != y[1]
        for now, old in pairs for x, y in zip(now.losses, old.losses, strict=True) if x and y
    )  # fmt: skip
    figures = {
        "ours_s": round(statistics.median(one.seconds for one in found[True]), 2),
        "before_s": round(statistics.median(one.seconds for one in found[False]), 2),
        "times": round(statistics.median(old.seconds / now.seconds for now, old in pairs), 2),
        "losses_s": round(statistics.median(one.losses_seconds for one in found[True]), 2),
        "losses_before_s": round(statistics.median(one.losses_seconds for one in found[False]), 2),
        "unequal": unequal, "right": round(right / len(prompts), 3), "tokens": found[True][0].tokens,
    }  # fmt: skip
    print(f"{name}, {len(prompts)} rows: {figures}", flush=True)
    return {f"{name}_{key}": value for key, value in figures.items()}


def tune(model: LocalModel, rows: Sequence[Row], steps: int, rate: float) -> None:
    """Train all weights on these rows."""
    core = model.loaded.model
    encoded = [one for row in rows for one in model._encoded(row)]
    optimizer = torch.optim.AdamW(core.parameters(), lr=rate, fused=True)
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, 10 * (step + 1) / steps, 2 * (1 - step / steps))
        some = [encoded[i] for i in torch.randint(len(encoded), (16,), generator=generator).tolist()]
        width = max(len(one.input_ids) for one in some)
        ids, labels = (
            torch.tensor([[*ids, *([fill] * (width - len(ids)))] for ids in of])
            for of, fill in (([one.input_ids for one in some], 0), ([one.labels for one in some], IGNORED))
        )
        core(input_ids=ids, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(core.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def measured(name: str, path: Path, count: int, rounds: int) -> dict[str, float]:
    """All of one model's."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    rows = mails()
    loaded = LoadedModel(AutoModelForCausalLM.from_pretrained(path).eval(), AutoTokenizer.from_pretrained(path), "cpu")
    model = LocalModel(name, name, loaded, Inference(device="cpu", batch_size=BATCHES[name]))
    asked, shown, others = rows[:count], rows[count : count + SHOTS], rows[count + SHOTS :]
    figures = compared(f"{name}_base", model, asked, rounds, None)
    figures |= compared(f"{name}_bare", model, asked, rounds, [])
    figures |= compared(f"{name}_two_shots", model, asked, rounds, others[: 2 * len(asked)], own=2)
    figures |= compared(f"{name}_few_shot", model, asked[: count // 4], rounds, shown)
    figures |= compared(f"{name}_system", model, told(asked[: count // 4], shown), rounds, None)
    tune(model, others, *TUNING[name])
    return figures | compared(f"{name}_tuned", model, asked, rounds, None)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--share", type=float, default=1.0, help="of the rows, for a quick look")
    parser.add_argument("--only", choices=list(BATCHES), help="one of the two models")
    parser.add_argument("--models", type=Path, help="a folder that keeps the two models")
    given = parser.parse_args()
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch, torch_threads(1):
        for name in [given.only] if given.only else BATCHES:
            path = (given.models or Path(scratch)) / name
            if not path.is_dir():
                build(ToyOptions(), 0, 2, path) if name == "toy" else make(path)
            figures |= measured(name, path, int(given.share * ROWS[name]), given.rounds)
    good = {key: value >= WANTED for key, value in figures.items() if key.endswith("times")}
    finish("evaluate", figures, {**good, "equal": not any(v for k, v in figures.items() if k.endswith("unequal"))})


if __name__ == "__main__":
    main()
