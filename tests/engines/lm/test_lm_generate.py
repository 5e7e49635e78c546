import random
from typing import Any

import pytest
import torch

from steps.contracts.errors import ConfigError
from steps.engines.lm import generate as engine
from steps.engines.lm.decoder import Decoder
from steps.engines.lm.ends import stop_ids
from steps.engines.lm.load import LoadedModel


def said(loaded: LoadedModel, asked: list[str], **how: Any) -> list[str]:
    return [one.text for one in engine.generate(loaded, asked, **how)]


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
        assert said(loaded, asked, max_new_tokens=9, batch_size=batch_size) == expected


def test_answers_follow_the_prompts_in_any_order(loaded: LoadedModel) -> None:
    asked = prompts(11)
    forward = said(loaded, asked, max_new_tokens=5, batch_size=4)
    backward = said(loaded, asked[::-1], max_new_tokens=5, batch_size=4)
    assert forward == backward[::-1]


def test_answer_ends_at_end_of_sequence(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    first = loaded.tokenizer(by_hand(loaded, "w3 w4", 1), add_special_tokens=False)["input_ids"][0]
    monkeypatch.setattr(loaded.model.generation_config, "eos_token_id", [1, first])
    assert first in stop_ids(loaded)
    assert said(loaded, ["w3 w4"], max_new_tokens=6, batch_size=1) == [""]


def test_no_prompts_no_answers(loaded: LoadedModel) -> None:
    assert said(loaded, [], max_new_tokens=3, batch_size=2) == []


def test_refuses_settings_that_answer_nothing(loaded: LoadedModel) -> None:
    with pytest.raises(ConfigError, match="max_new_tokens"):
        said(loaded, ["w1"], max_new_tokens=0, batch_size=2)


def test_each_answer_has_its_own_room_and_says_when_it_was_full(loaded: LoadedModel, monkeypatch) -> None:
    asked = prompts(7)
    whole = [one.split() for one in said(loaded, asked, max_new_tokens=9, batch_size=3)]
    rooms = [1, 5, 2, 9, 5, 2, 3]
    found = engine.generate(loaded, asked, max_new_tokens=rooms, batch_size=3)
    assert [one.text.split() for one in found] == [words[:room] for words, room in zip(whole, rooms, strict=True)]
    assert [one.cut for one in found] == [len(words) >= room for words, room in zip(whole, rooms, strict=True)]
    end = loaded.tokenizer.convert_tokens_to_ids(whole[3][4])
    before = whole[3][: whole[3].index(whole[3][4])]
    monkeypatch.setattr(loaded.model.generation_config, "eos_token_id", [1, end])
    (stopped,) = engine.generate(loaded, asked[3:4], max_new_tokens=5, batch_size=1)
    assert stopped == engine.Generated(" ".join(before), cut=False, tokens=len(before))


def test_batches_are_bounded_by_tokens_and_one_long_prompt_is_alone(loaded: LoadedModel, monkeypatch) -> None:
    shapes: list[tuple[int, int]] = []
    own = Decoder._begun

    def spied(self: Decoder, prompts: list[list[int]], *rest: Any) -> Any:
        shapes.append((len(prompts), max(map(len, prompts))))
        return own(self, prompts, *rest)

    monkeypatch.setattr(Decoder, "_begun", spied)
    asked = [*(f"w{n} w3" for n in range(6)), " ".join(["w5"] * 60)]
    bounded = said(loaded, asked, max_new_tokens=8, batch_size=16, batch_tokens=40)
    assert shapes == [(4, 2), (2, 2), (1, 60)]
    shapes.clear()
    assert said(loaded, asked, max_new_tokens=8, batch_size=16) == bounded
    assert shapes == [(7, 60)]
