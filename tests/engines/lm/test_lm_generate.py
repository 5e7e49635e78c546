import random

import pytest
import torch

from steps.contracts.errors import ConfigError
from steps.engines.lm.ends import stop_ids
from steps.engines.lm.generate import generate
from steps.engines.lm.load import LoadedModel


def prompts(count: int) -> list[str]:
    rng = random.Random(3)
    return [" ".join(f"w{rng.randrange(60)}" for _ in range(rng.randint(1, 12))) for _ in range(count)]


def by_hand(loaded: LoadedModel, prompt: str, steps: int) -> str:
    """Second implementation: the whole sequence again for every token, no cache, no padding."""
    ids = loaded.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    out: list[int] = []
    for _ in range(steps):
        with torch.no_grad():
            token = int(loaded.model(input_ids=torch.tensor([ids + out])).logits[0, -1].argmax())
        if token == 1:
            break
        out.append(token)
    return " ".join(loaded.tokenizer.convert_ids_to_tokens([t for t in out if t != 0]))


def test_batches_answer_as_one_by_one(loaded: LoadedModel) -> None:
    asked = prompts(23)
    expected = [by_hand(loaded, p, 9) for p in asked]
    assert len(set(expected)) > 15, "the answers must differ for this test to say anything"
    for batch_size in (1, 4, 23):
        assert generate(loaded, asked, max_new_tokens=9, batch_size=batch_size) == expected


def test_answers_follow_the_prompts_in_any_order(loaded: LoadedModel) -> None:
    asked = prompts(11)
    forward = generate(loaded, asked, max_new_tokens=5, batch_size=4)
    backward = generate(loaded, asked[::-1], max_new_tokens=5, batch_size=4)
    assert forward == backward[::-1]


def test_answer_ends_at_end_of_sequence(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    first = loaded.tokenizer(by_hand(loaded, "w3 w4", 1), add_special_tokens=False)["input_ids"][0]
    monkeypatch.setattr(loaded.model.generation_config, "eos_token_id", [1, first])
    assert first in stop_ids(loaded)
    assert generate(loaded, ["w3 w4"], max_new_tokens=6, batch_size=1) == [""]


def test_no_prompts_no_answers(loaded: LoadedModel) -> None:
    assert generate(loaded, [], max_new_tokens=3, batch_size=2) == []


def test_refuses_settings_that_answer_nothing(loaded: LoadedModel) -> None:
    with pytest.raises(ConfigError, match="max_new_tokens"):
        generate(loaded, ["w1"], max_new_tokens=0, batch_size=2)
