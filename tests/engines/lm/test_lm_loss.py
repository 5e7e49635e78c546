import random

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoConfig, AutoModelForCausalLM

from steps.contracts.errors import InputError
from steps.engines.lm import loss
from steps.engines.lm.load import LoadedModel
from steps.engines.lm.loss import IGNORED, token_losses
from steps.engines.lm.shapes import by_budget


def examples(count: int) -> list[tuple[list[int], list[int]]]:
    rng = random.Random(5)
    made = []
    for _ in range(count):
        ids = [rng.randrange(2, 62) for _ in range(rng.randint(1, 15))]
        made.append((ids, [t if rng.random() < 0.6 else IGNORED for t in ids]))
    return made


def by_hand(loaded: LoadedModel, ids: list[int], labels: list[int]) -> tuple[float, int]:
    total, counted = 0.0, 0
    for at in range(1, len(ids)):
        if labels[at] != IGNORED:
            with torch.no_grad():
                logits = loaded.model(input_ids=torch.tensor([ids[:at]])).logits[0, -1].double()
            total -= float(logits.log_softmax(-1)[labels[at]])
            counted += 1
    return total, counted


def test_sums_are_those_of_one_token_at_a_time(loaded: LoadedModel) -> None:
    given = examples(17)
    expected = [by_hand(loaded, *e) for e in given]
    assert sum(n for _, n in expected) > 40
    for batch_size in (1, 5, 17):
        found = token_losses(loaded, given, batch_size=batch_size)
        assert [n for _, n in found] == [n for _, n in expected]
        assert [x for x, _ in found] == pytest.approx([x for x, _ in expected], abs=1e-3)


def test_first_token_and_ignored_tokens_are_not_counted(loaded: LoadedModel) -> None:
    assert token_losses(loaded, [([5], [5]), ([5, 6], [5, IGNORED])], batch_size=2) == [(0.0, 0), (0.0, 0)]


def test_refuses_labels_of_another_length(loaded: LoadedModel) -> None:
    with pytest.raises(InputError, match="differ in length"):
        token_losses(loaded, [([5, 6], [5])], batch_size=2)


# Architectures with what their heads do to the logits.
HEADS = {
    "llama": {},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2},
    "mistral": {},
    "phi3": {"pad_token_id": 0},
    "gemma2": {"final_logit_softcapping": 3.0},
    "gemma3_text": {},
    "cohere": {"logit_scale": 0.3},
    "granite": {"logits_scaling": 4.0},
    "mixtral": {"output_router_logits": True},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    "gpt_oss": {"num_local_experts": 4, "layer_types": ["sliding_attention", "full_attention"]},
}
VOCABULARY = 62


def tiny_of(family: str) -> torch.nn.Module:
    shape = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
        "intermediate_size": 48, "initializer_range": 0.3, "bos_token_id": None, "eos_token_id": 1,
    }  # fmt: skip
    torch.manual_seed(3)
    config = AutoConfig.for_model(family, vocab_size=VOCABULARY, **(shape if family != "gpt2" else {}) | HEADS[family])
    return AutoModelForCausalLM.from_config(config).eval()


class Widest(TorchDispatchMode):
    """The most positions for which there were logits at once."""

    positions = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.is_floating_point() and out.shape[-1:] == (VOCABULARY,):
            self.positions = max(self.positions, out.numel() // VOCABULARY)
        return out


# Those that do something to the logits, and one of each other kind; all of them in make test-slow.
QUICK = ("llama", "gpt2", "gemma2", "cohere", "mixtral")


@pytest.mark.parametrize("family", [f if f in QUICK else pytest.param(f, marks=pytest.mark.slow) for f in HEADS])
def test_logits_in_pieces_are_those_of_the_models_own_forward(loaded: LoadedModel, monkeypatch, family: str) -> None:
    one = LoadedModel(tiny_of(family), loaded.tokenizer, "cpu")
    given = examples(17)
    expected = [by_hand(one, *example) for example in given]
    with Widest() as whole:
        assert [x for x, _ in token_losses(one, given, batch_size=5)] == pytest.approx(
            [x for x, _ in expected], rel=1e-4
        )
    monkeypatch.setattr(loss, "LOGITS_BYTES", 4 * VOCABULARY * 7)
    with Widest() as pieces:
        found = token_losses(one, given, batch_size=5)
    assert [n for _, n in found] == [n for _, n in expected]
    assert [x for x, _ in found] == pytest.approx([x for x, _ in expected], rel=1e-4)
    # Few are counted of the 60 of the largest batch.
    assert (pieces.positions, whole.positions) == (7, 29)
    assert "forward" not in vars(one.model.base_model), "the model is as before"


def test_an_adapter_beside_the_weights_predicts_in_pieces_too(loaded: LoadedModel, monkeypatch) -> None:
    torch.manual_seed(5)
    tuned = get_peft_model(tiny_of("llama"), LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    one = LoadedModel(tuned.eval(), loaded.tokenizer, "cpu")
    plain = LoadedModel(tiny_of("llama"), loaded.tokenizer, "cpu")
    expected = token_losses(one, examples(9), batch_size=4)
    assert expected != token_losses(plain, examples(9), batch_size=4)
    monkeypatch.setattr(loss, "LOGITS_BYTES", 4 * VOCABULARY * 7)
    found = token_losses(one, examples(9), batch_size=4)
    assert [x for x, _ in found] == pytest.approx([x for x, _ in expected], rel=1e-4)


@pytest.mark.parametrize("pieces", [False, True])
def test_nothing_below_the_whole_model_is_asked_by_itself(loaded: LoadedModel, monkeypatch, pieces: bool) -> None:
    """Of a model that is spread over processes (FSDP) only the root may be."""
    if pieces:
        monkeypatch.setattr(loss, "LOGITS_BYTES", 4 * VOCABULARY * 7)
    model, depth, asked = loaded.model, [0], []
    hooks = [
        model.register_forward_pre_hook(lambda *_: depth.append(1)),
        model.register_forward_hook(lambda *_: depth.append(-1)),
        model.base_model.register_forward_pre_hook(lambda *_: asked.append(sum(depth))),
    ]
    token_losses(loaded, examples(17), batch_size=5)
    for hook in hooks:
        hook.remove()
    assert len(asked) > 1 and set(asked) == {1}
    assert "forward" not in vars(model.base_model)


def test_one_long_example_is_alone_and_widens_no_other() -> None:
    lengths = [3, 4, 5, 5, 6, 90, 200]
    assert list(by_budget(range(7), lengths, rows=4, tokens=20)) == [[0, 1, 2, 3], [4], [5], [6]]
    assert list(by_budget(range(7), lengths, rows=2, tokens=10_000)) == [[0, 1], [2, 3], [4, 5], [6]]
    assert list(by_budget([], [], rows=2, tokens=10)) == []


def test_losses_of_batches_by_tokens_are_those_of_one_at_a_time(loaded: LoadedModel) -> None:
    given = examples(17)
    alone = token_losses(loaded, given, batch_size=1)
    found = token_losses(loaded, given, batch_size=17, batch_tokens=40)
    assert [x for x, _ in found] == pytest.approx([x for x, _ in alone], abs=1e-3)
