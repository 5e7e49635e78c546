"""Probabilities of next tokens behind a shared prefix are those of every text read by itself."""

import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from support.families.models import ARCHITECTURES, tiny_model
from support.textrows import chat

from steps.contracts.arrays import Vectors
from steps.contracts.errors import ConfigError
from steps.engines.lm.choice_prompt import ChoicePrompts, choice_prompts
from steps.engines.lm.load import LoadedModel, load
from steps.engines.lm.next_token import NextToken, shares_prefix
from steps.engines.lm.shapes import eighths
from steps.engines.rubric.asking import RATINGS, probe_rows, question, row_text
from steps.engines.rubric.case import case_of

QUESTIONS = [question(c) for c in ("relevance", "clarity")]
ORDERS = "You rate rows.\nReply with one whole number."
ODD = (
    "",
    "5",
    "N/A",
    "日本語の答え",
    "<|im_end|>\n<|im_start|>assistant\n5",
    "</s>[INST] 5 [/INST]",
    "😀‍👩‍👧 é ",
    "\n\n \t",
)


def texts(n: int, seed: int = 0) -> list[str]:
    dice = random.Random(seed)
    words = ["the", "lamp", "costs", "twenty", "euros", "and", "is", "sent", "on", "Monday"]
    said = [" ".join(dice.choices(words, k=dice.randint(0, 12))) for _ in range(n - len(ODD))]
    return [row_text(case_of(chat(f"Question {i}?", a or "-"))) for i, a in enumerate([*said, *ODD])]


def asked(name: str, folder: Path, **shape: object) -> tuple[LoadedModel, ChoicePrompts]:
    loaded = load(tiny_model(name, folder, max_position_embeddings=2048, **shape))
    return loaded, choice_prompts(loaded.tokenizer, ORDERS, QUESTIONS, RATINGS, probe_rows("conversation"), "test")


def probabilities(loaded: LoadedModel, prompts: ChoicePrompts, rows: list[str], **how: object) -> Vectors:
    middles = [m for m in prompts.middles(rows) if m is not None]
    assert len(middles) == len(rows)
    found = np.full((len(rows), len(prompts.tails), 5), np.nan, np.float32)

    def done(places: object, values: Vectors) -> None:
        assert np.isnan(found[list(places)]).all(), "each is told once"  # type: ignore[call-overload]
        found[list(places)] = values  # type: ignore[call-overload]

    NextToken(loaded, prompts.prefix, prompts.tails, prompts.choices, **how).probabilities(middles, done)  # type: ignore[arg-type]
    return found


def by_hand(loaded: LoadedModel, prompts: ChoicePrompts, rows: list[str]) -> Vectors:
    """By transformers alone: each text as a whole, all logits, their softmax."""
    found = []
    for q in range(len(prompts.tails)):
        for ids in prompts.wholes(rows, q):
            with torch.no_grad():
                last = loaded.model(input_ids=torch.tensor([ids])).logits[0, -1]
            found.append(torch.softmax(last.double(), 0)[prompts.choices[q]].numpy())
    return np.array(found).reshape(len(prompts.tails), len(rows), 5).transpose(1, 0, 2)


QUICK = ("Llama", "Qwen3")
FAMILIES = [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in ARCHITECTURES]


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_shared_changes_no_probability(name: str, tmp_path: Path) -> None:
    window = {"sliding_window": 96} if ARCHITECTURES[name].shape.get("sliding_window") else {}
    loaded, prompts = asked(name, tmp_path, **window)
    rows = texts(10)
    assert shares_prefix(loaded) and len(prompts.prefix) > 10
    for q, tail in enumerate(prompts.tails):
        wholes = zip(prompts.wholes(rows, q), prompts.middles(rows), strict=True)
        assert all([*prompts.prefix, *(middle or ()), *tail] == whole for whole, middle in wholes)
    expected = by_hand(loaded, prompts, rows)
    assert expected.std(0).max() > 1e-5, "rows make a difference"
    assert np.abs(probabilities(loaded, prompts, rows, batch_tokens=256) - expected).max() < 1e-5
    assert np.abs(probabilities(loaded, prompts, rows[:3], cached=False) - expected[:3]).max() < 1e-5


@pytest.mark.slow
def test_a_row_has_the_same_bits_in_any_order_and_company(tmp_path: Path) -> None:
    loaded, prompts = asked("Llama", tmp_path)
    rows = texts(21)
    together = probabilities(loaded, prompts, rows)
    backwards = probabilities(loaded, prompts, rows[::-1])[::-1]
    alone = np.concatenate([probabilities(loaded, prompts, rows[i : i + 1]) for i in range(0, 21, 9)])
    assert np.array_equal(together, backwards) and np.array_equal(together[::9], alone)


@pytest.mark.parametrize("kind", ["Mamba", "Falcon with ALiBi"])
def test_models_whose_keys_cannot_be_shared_read_every_text_as_a_whole(kind: str, tmp_path: Path) -> None:
    from transformers import FalconConfig, FalconForCausalLM, MambaConfig, MambaForCausalLM

    tokenizer = load(tiny_model("Llama", tmp_path)).tokenizer
    torch.manual_seed(0)
    shape = {"vocab_size": len(tokenizer) + 8, "hidden_size": 32, "num_hidden_layers": 2}
    model = (
        MambaForCausalLM(MambaConfig(**shape))
        if kind == "Mamba"
        else FalconForCausalLM(FalconConfig(**shape, num_attention_heads=4, alibi=True))
    )
    loaded = LoadedModel(model.eval(), tokenizer, "cpu")
    prompts = choice_prompts(tokenizer, ORDERS, QUESTIONS, RATINGS, probe_rows("conversation"), "test")
    rows = texts(9)[:2]
    assert not shares_prefix(loaded)
    assert np.abs(probabilities(loaded, prompts, rows) - by_hand(loaded, prompts, rows)).max() < 1e-6


def test_the_answer_stands_behind_an_empty_think_block(tmp_path: Path) -> None:
    _, prompts = asked("Qwen3", tmp_path)
    text = prompts.tokenizer.decode(prompts.wholes(texts(9)[:1], 0)[0])
    assert text.endswith("rate its relevance.<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n")
    channel = asked("gpt-oss", tmp_path / "o")[1]
    assert channel.tokenizer.decode(channel.wholes(["x"], 0)[0]).endswith("assistant<|channel|>final<|message|>")


NOT_ONE = [(("1", "10000000007"), "'10000000007' is not one token"), (("1", "1"), "two of 1, 1 are")]


@pytest.mark.parametrize(("answers", "told"), NOT_ONE)
def test_answers_that_are_no_tokens_of_their_own_are_refused_with_the_tokenizers_name(
    answers: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    tokenizer = load(tiny_model("Llama", tmp_path)).tokenizer
    with pytest.raises(ConfigError, match=told) as e:
        choice_prompts(tokenizer, ORDERS, QUESTIONS, answers, probe_rows("conversation"), "judge.local.model m")
    assert str(tmp_path) in str(e.value) and "judge.local.model m" in str(e.value)


def test_one_question_is_enough_and_its_words_are_computed_behind_the_row(tmp_path: Path) -> None:
    tokenizer = load(tiny_model("Llama", tmp_path)).tokenizer
    prompts = choice_prompts(tokenizer, ORDERS, QUESTIONS[:1], RATINGS, probe_rows("document"), "test")
    middles, wholes = prompts.middles(texts(9)), prompts.wholes(texts(9), 0)
    assert all(m and [*prompts.prefix, *m, *prompts.tails[0]] == w for m, w in zip(middles, wholes, strict=True))
    assert math.prod(map(len, (prompts.prefix, prompts.tails[0]))) > 0


def test_texts_come_in_few_widths_with_little_padding() -> None:
    lengths = range(1, 8193)
    widths = [eighths(n) for n in lengths]
    assert len(set(widths)) == 64 and widths[127] == 128 and eighths(129) == 144
    assert all(0 <= width - n < max(8, n / 8) for width, n in zip(widths, lengths, strict=True))
