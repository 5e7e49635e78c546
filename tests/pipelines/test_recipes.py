"""Every recipe's gate, tried on as many rows as the recipe says that it needs: split, evaluation and gate are the real
ones, the subjects say what a tuned and an untuned model would.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest

from pipelines.config import RunConfig
from pipelines.load import load_model
from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset, DatasetWriter
from steps.contracts.evaluation import Decision
from steps.contracts.records import Row, make_row, message
from steps.dedup.dedup import dedup
from steps.engines.subjects.subject import Asked, Losses, Preferences, Prompt, Replies
from steps.evaluate.evaluate import evaluate
from steps.evaluate.tasks import suite
from steps.gate.gate import gate
from steps.ingest.ingest import ingest
from steps.split.split import split
from steps.train.memory_estimate import estimate, model_shape
from steps.train.plan import make_plan

ROOT = Path(__file__).resolve().parents[2]
RECIPES = {path.stem: path for path in sorted((ROOT / "configs" / "runs").glob("*.yaml"))}
CONFIGS = {name: load_model(RunConfig, path) for name, path in RECIPES.items()}
TUNING = [name for name, config in CONFIGS.items() if config.evaluates]
# Their rows are in the repository, and a whole run shows what comes of them; here they are only counted.
OWN_ROWS = [name for name in TUNING if not CONFIGS[name].ingest.sources[0].path.startswith("data/")]
FOREIGN = [name for name in TUNING if name not in OWN_ROWS]
# What they train answers nothing, and no control says anything of it.
REWARDS = [name for name in FOREIGN if CONFIGS[name].phases[-1].objective.kind == "reward"]
_DATA = re.compile(r"^# Data: +([\d,]+) ", re.MULTILINE)
# Nats per token of the two subjects on their own rows, and of both on general text.
_BEFORE, _AFTER, _GENERAL = 2.0, 1.5, 3.0


class Judging:
    """A subject that prefers the chosen answer of so many pairs in ten."""

    decoding: ClassVar[dict[str, bool]] = {"scripted": True}

    def __init__(self, name: str, right: int) -> None:
        self.name, self.digest, self._right = name, name * 8, right

    def preferences(self, rows: Sequence[Row]) -> Preferences:
        """Of each row."""
        return Preferences([float(i % 10 < self._right) for i in range(len(rows))])


class Scripted:
    """A subject that answers as it is told, and whose losses are known."""

    def __init__(self, name: str, nats: float, answer: Callable[[Prompt], str]) -> None:
        self.decoding = {"scripted": True}
        self.name = name
        self.digest = name * 8
        self._nats = nats
        self._answer = answer

    def prompts(self, rows: Sequence[Row]) -> Asked:
        """What the user says, and the last answer."""
        said = [r["messages"] for r in rows]
        return Asked([Prompt(m[0]["content"], m[-1]["content"]) if m else None for m in said])

    def answer(self, prompts: Sequence[Prompt], max_new_tokens: int | None) -> Replies:
        """As told."""
        return Replies([self._answer(p) for p in prompts], max_new_tokens or 64)

    def losses(self, rows: Sequence[Row]) -> Losses:
        """Ten tokens per row, which differ a little from row to row."""
        wobble = (0.01 * (i % 7) for i in range(len(rows)))
        return Losses(
            [(10 * (w + (_GENERAL if r["kind"] == "document" else self._nats)), 10)
             for r, w in zip(rows, wobble, strict=True)]
        )  # fmt: skip


def said_rows(name: str) -> int:
    """The number of rows that a recipe says it needs."""
    found = _DATA.search(RECIPES[name].read_text())
    assert found, f"{name}.yaml doesn't say how many rows it needs: a line '# Data:     1,500 ...'"
    return int(found[1].replace(",", ""))


def held_out(name: str, folder: Path) -> Dataset:
    """As many conversations as the recipe says, split as it says."""
    turns = [
        [message("user", f"Tell me of thing {n}."), message("assistant", f"Thing {n} is the one after thing {n - 1}.")]
        for n in range(said_rows(name))
    ]
    writer = DatasetWriter(folder / "rows", "ingest")
    writer.write_rows(
        make_row(kind="conversation", source="s/a", locator=f"line:{n}", raw=b"%d" % n, messages=m)
        for n, m in enumerate(turns)
    )
    return split(writer.close(), CONFIGS[name].split, StageContext(folder / "split")).rows


def decision(name: str, folder: Path, after: float) -> Decision:
    """What the recipe's gate says of a model whose loss is `after`, and whose answers are right when it fell."""
    config, rows = CONFIGS[name], held_out(name, folder)
    right = after < _BEFORE
    subjects: list[Scripted | Judging] = [
        Scripted("base", _BEFORE, lambda p: f"Nothing is known of {p.text[13:]}"),
        Scripted("tuned", after, lambda p: p.reference if right else f"Nothing is known of {p.text[13:]}"),
    ]
    if name in REWARDS:
        subjects = [Judging("base", 6), Judging("tuned", 8 if right else 6)]
    asked = suite(rows, config.evaluate, ROOT)
    run = partial(evaluate, suite=asked, config=config.evaluate, root=ROOT)
    return gate([run(s, folder=folder / s.name) for s in subjects], config.gate)[1]


@pytest.mark.parametrize("name", FOREIGN)
def test_a_recipes_gate_promotes_a_better_model_on_the_rows_that_it_says_it_needs(name: str, tmp_path: Path) -> None:
    found = decision(name, tmp_path, _AFTER)
    assert found.promote, [r for r in found.reasons if not r.passed]


@pytest.mark.parametrize("name", FOREIGN)
def test_a_recipes_gate_promotes_no_model_that_got_no_better(name: str, tmp_path: Path) -> None:
    found = decision(name, tmp_path, _BEFORE)
    assert [r.check for r in found.reasons if not r.passed] == [f"gain in {CONFIGS[name].gate.metric or 'rouge_l'}"]


@pytest.mark.parametrize("name", [name for name in TUNING if name not in REWARDS])
def test_every_recipe_has_a_control_and_what_its_gate_names_is_evaluated(name: str) -> None:
    config = CONFIGS[name]
    controls = {c.name for c in config.evaluate.controls}
    assert controls
    assert set(config.gate.required_controls) <= controls
    wanted = {config.gate.metric, *config.gate.floors, *config.gate.ceilings} - {None, "loss", "perplexity"}
    if config.evaluate.metrics != "auto":
        assert wanted <= set(config.evaluate.metrics)
    assert config.evaluate.max_rows is None or config.evaluate.max_rows >= config.gate.min_n


@pytest.mark.parametrize("name", OWN_ROWS)
def test_a_recipe_with_rows_of_its_own_has_as_many_test_rows_as_its_gate_wants(name: str, tmp_path: Path) -> None:
    config = CONFIGS[name]
    rows = ingest(None, config.ingest, StageContext(tmp_path / "ingest", root=ROOT)).rows
    rows = dedup(rows, config.dedup, StageContext(tmp_path / "dedup")).rows
    found = split(rows, config.split, StageContext(tmp_path / "split")).rows.manifest.splits["test"]
    # The stages after them leave two thirds of these rows, or more.
    assert min(found * 2 // 3, config.evaluate.max_rows or found) >= config.gate.min_n


# config.json of the models that the recipes name, as published: what decides over memory.
LLAMA = ("llama", {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
                   "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256})  # fmt: skip
QWEN = ("qwen3", {"hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36,
                  "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
                  "vocab_size": 151936, "tie_word_embeddings": False})  # fmt: skip
# Of Qwen3 8 B, by its model card.
TEACHERS = {"distill_qwen3": 8_200_000_000}
SHAPES = {
    "sft_lora_8b": LLAMA,
    "sft_lora_qwen3": QWEN,
    "dpo_lora_qwen3": QWEN,
    "kto_lora_8b": LLAMA,
    "sft_lora_8gb": ("qwen3", {"hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28,
                               "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
                               "vocab_size": 151936, "tie_word_embeddings": True}),
    "full_4b_80gb": ("qwen3", {"hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36,
                               "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
                               "vocab_size": 151936, "tie_word_embeddings": True}),
    "distill_qwen3": ("qwen3", {"hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28,
                                "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
                                "vocab_size": 151936, "tie_word_embeddings": True}),
    "preference_pairs": ("qwen3", {"hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28,
                                   "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
                                   "vocab_size": 151936, "tie_word_embeddings": True}),
    "sft_lora_gemma": ("gemma2", {"hidden_size": 3584, "intermediate_size": 14336, "num_hidden_layers": 42,
                                  "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256,
                                  "vocab_size": 256000}),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
def test_a_recipe_fits_the_gpu_that_it_asks_for(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import bitsandbytes  # noqa: F401 - it takes the kernels of what torch sees when it is imported
    import torch
    from transformers import AutoConfig

    kind, shape = SHAPES[name]
    AutoConfig.for_model(kind, **shape).save_pretrained(tmp_path)
    for asked, answer in (("is_available", True), ("is_bf16_supported", True), ("device_count", 1)):
        monkeypatch.setattr(torch.cuda, asked, lambda *_, answer=answer, **__: answer)
    needed = max(
        estimate(
            replace(model_shape(tmp_path, phase), asked=TEACHERS[name] if phase.objective.kind == "distill" else 0),
            phase,
            make_plan(phase, shape["vocab_size"]),
        ).total
        for phase in CONFIGS[name].phases
    )
    (asked_for,) = re.findall(r"one GPU with (\d+) GB", RECIPES[name].read_text())
    assert needed < int(asked_for) * 10**9 < 2 * needed
