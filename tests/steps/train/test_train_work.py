"""How much a step computes, held against torch's own counter; and how long that takes."""

from dataclasses import replace

import pytest
import torch
from support.families.models import ARCHITECTURES, tiny_config
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, LlamaConfig

from steps.train.config import TrainConfig
from steps.train.memory_estimate import Shape, shape_of
from steps.train.planning.devices import device_named
from steps.train.planning.work import (
    answering_seconds,
    attention_operations,
    optimizer_steps,
    padded_length,
    row_operations,
    step_seconds,
)
from steps.train.settings import Plan
from steps.train.weights.registry import weights_of

LENGTH = 48
PLAN = Plan("cpu", "float32", False, False, "plain", 1e-3)
KINDS = {"full": {"kind": "full"}, "lora": {"kind": "lora", "r": 8}}


@pytest.mark.parametrize("recomputed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", [n if n == "Llama" else pytest.param(n, marks=pytest.mark.slow) for n in ARCHITECTURES]
)
def test_a_step_computes_what_torch_counts(name, kind, recomputed) -> None:
    described = tiny_config(name, vocab_size=1_024)
    # Written out, so that the counter sees every product.
    described._experts_implementation = described._attn_implementation = "eager"
    config = TrainConfig(weights=KINDS[kind], max_length=LENGTH)
    model = AutoModelForCausalLM.from_config(described)
    shape = shape_of(AutoModelForCausalLM.from_config(described), config)
    tuned = weights_of(config.weights).attached(model)
    if recomputed:
        tuned.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        tuned.enable_input_require_grads()
    tuned.train()
    ids = torch.arange(LENGTH)[None] % 500 + 5
    with FlopCounterMode(display=False) as counter:
        tuned(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    plan = Plan("cpu", "float32", False, recomputed, "plain", 1e-3)
    # torch counts all pairs of tokens, also those that a mask or a window leaves out.
    text = described.get_text_config()
    whole = dict(text.to_dict(), sliding_window=None)
    passes = 4 if recomputed else 3
    unmasked = attention_operations(type(text)(**whole), LENGTH)
    found = row_operations(shape, config, plan, LENGTH)
    found += passes * (2 * unmasked - attention_operations(described, LENGTH))
    assert found == pytest.approx(counter.get_total_flops(), rel=0.1)


def test_operations_of_llama_3_8b_are_those_of_the_papers_formula() -> None:
    """PaLM's appendix B: 6 per weight and token, and 12 per layer, head, its width and length; half with a mask."""
    llama = LlamaConfig(
        vocab_size=128_256, hidden_size=4_096, intermediate_size=14_336, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=8,
    )  # fmt: skip
    config = TrainConfig(weights={"kind": "full"}, max_length=8_192)
    weights = 8_030_261_248
    shape = Shape(weights, weights, llama, weights - 128_256 * 4_096)
    per_token = row_operations(shape, config, PLAN, 8_192) / 8_192
    assert per_token == pytest.approx(6 * shape.multiplied + 12 * 32 * 4_096 * 8_192 / 2, rel=0.001)


def test_a_window_bounds_the_pairs_of_its_layers() -> None:
    shape = {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2, "head_dim": 16}
    wide = tiny_config("Gemma 2", **shape, layer_types=["full_attention"] * 2)
    half = tiny_config("Gemma 2", **shape, layer_types=["sliding_attention", "full_attention"], sliding_window=10)
    # Of 100 tokens each sees 10 at most: 10 * 100 - 10 * 10 / 2 pairs, instead of 100 * 100 / 2.
    assert attention_operations(wide, 100) == 2 * 4 * 32 * 2 * 5_000
    assert attention_operations(half, 100) == 2 * 4 * 32 * (950 + 5_000)


def test_a_pass_takes_as_long_as_its_operations_or_as_reading_the_weights() -> None:
    llama = LlamaConfig(vocab_size=1_000, hidden_size=64, intermediate_size=128, num_hidden_layers=1)
    shape, card = Shape(10**9, 0, llama, 10**9), device_named("a100-80gb")
    plan = Plan("cuda", "bfloat16", True, False, "fused", 1e-3)
    config = TrainConfig(per_device_train_batch_size=4, gradient_accumulation_steps=2)
    # 4 rows of 1,000 tokens at 4 operations per weight and token: 1.6e13 at 40 % of 3.12e14.
    assert step_seconds(shape, config, plan, card, 0.4, [1_000]) == pytest.approx(2 * 1.6e13 / 1.248e14, rel=0.01)
    # One row of one token: the weights of 2e9 bytes are read twice.
    alone = config.model_copy(update={"per_device_train_batch_size": 1})
    assert step_seconds(shape, alone, plan, card, 0.4, [1]) == pytest.approx(2 * 2 * 2e9 / 2.039e12, rel=0.01)


def test_answers_take_the_time_of_their_tokens_and_are_trained_on_as_rows() -> None:
    llama = LlamaConfig(vocab_size=1_000, hidden_size=64, intermediate_size=128, num_hidden_layers=1)
    shape, card = Shape(10**9, 0, llama, 10**9), device_named("a100-80gb")
    plan = Plan("cuda", "bfloat16", True, False, "fused", 1e-3)
    rewarded = {"kind": "grpo", "rewards": [{"grader": "rouge_l"}], "max_completion_length": 200, "beta": 0}
    config = TrainConfig(objective=rewarded)
    # 8 rows at a token: the weights are read once for each of 200 tokens.
    assert answering_seconds(shape, config, plan, card, 0.4) == pytest.approx(200 * 2e9 / 2.039e12)
    assert answering_seconds(shape, TrainConfig(), plan, card, 0.4) == 0
    # 4,096 rows at a token: 2 operations per weight and row, of each of two processes for half of them.
    many = TrainConfig(objective=rewarded, gradient_accumulation_steps=512)
    alone, halved = (answering_seconds(shape, many, replace(plan, processes=n), card, 0.4) for n in (1, 2))
    assert alone == pytest.approx(200 * 4_096 * 2e9 / 1.248e14)
    assert halved == pytest.approx(alone / 2)
    asked, answered = (step_seconds(shape, c, plan, card, 0.4, [400]) for c in (TrainConfig(), config))
    assert answered == pytest.approx(asked * 600 / 400, rel=0.01)


def test_batches_are_as_wide_as_their_longest_row() -> None:
    assert padded_length([10, 10, 10], 8, grouped=False) == 10
    assert padded_length([0, 100], 1, grouped=False) == 50
    assert padded_length([0, 100], 64, grouped=True) == 50
    assert padded_length([0, 100], 64, grouped=False) == 100
    assert 70 < padded_length([0, 100], 2, grouped=False) < 80  # three of four pairs have the long one
    assert padded_length([], 2, grouped=False) == 0


@pytest.mark.parametrize(
    ("settings", "rows", "steps"),
    [
        ({}, 20, 3), ({"gradient_accumulation_steps": 2}, 20, 2), ({"num_train_epochs": 2.5}, 16, 5),
        ({"max_steps": 7}, 16, 7), ({"per_device_train_batch_size": 3, "gradient_accumulation_steps": 3}, 10, 2),
        # 20 prompts with 8 answers each are 160 answers; what fills no batch is left out.
        ({"objective": {"kind": "grpo", "rewards": [{"grader": "rouge_l"}]}}, 20, 20),
        ({"objective": {"kind": "distill", "teacher": {"model": "a/b"}}}, 20, 2),
    ],
)  # fmt: skip
def test_steps_are_those_that_the_trainer_takes(settings, rows, steps) -> None:
    assert optimizer_steps(TrainConfig(**settings), rows) == steps
