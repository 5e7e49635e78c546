"""Answers that are heard while they are made: the tokens of an evaluation, and text that is never taken back."""

import random
from collections import Counter

import pytest
import torch
from support.tuned_models import adapted

from steps.engines.lm.decoding import DecodingConfig
from steps.engines.lm.ends import stop_ids
from steps.engines.lm.generate import answer_ids
from steps.engines.lm.live import Live, _Chance, answer_live
from steps.engines.lm.load import load
from steps.engines.lm.transcript import Piece, Transcript
from steps.engines.template.reasoning import TAGS, Markers, Reply


@pytest.fixture(scope="module")
def loaded(tiny_model, tmp_path_factory):
    return load(tiny_model, adapted(tiny_model, tmp_path_factory.mktemp("adapter")), device="cpu")


def heard_of(loaded, prompts, rooms, decoding=DecodingConfig(), ends=(), **how):  # noqa: B008
    heard = [[] for _ in prompts]
    asked = [Live(p, r, heard[i].append, **how) for i, (p, r) in enumerate(zip(prompts, rooms, strict=True))]
    answer_live(loaded, asked, decoding=decoding, ends=ends or stop_ids(loaded))
    return heard


@pytest.mark.parametrize("decoding", [DecodingConfig(), DecodingConfig(repetition_penalty=1.3, min_new_tokens=4)])
def test_the_tokens_are_those_of_an_evaluation_and_each_ends_by_its_own_room(loaded, decoding):
    prompts = [loaded.tokenizer(f"What is {n}? The" + " sky" * n)["input_ids"] for n in range(6)]
    # So that some end by themselves.
    ends = [
        *stop_ids(loaded),
        *answer_ids(loaded, prompts[:1], {**decoding.in_force(), "max_new_tokens": 9}, [2])[0][5:6],
    ]
    whole = answer_ids(loaded, prompts, {**decoding.in_force(), "max_new_tokens": 20}, ends)
    assert len({len(one) for one in whole}) > 1
    rooms = [20, 1, 7, 20, 3, 20]
    assert heard_of(loaded, prompts, rooms, decoding, ends) == [w[:r] for w, r in zip(whole, rooms, strict=True)]


def test_who_has_had_enough_hears_no_more(loaded):
    prompt, heard = loaded.tokenizer("What is it?")["input_ids"], []
    other = []
    asked = [Live(prompt, 12, lambda t: heard.append(t) or len(heard) == 3), Live(prompt, 12, other.append)]
    answer_live(loaded, asked, decoding=DecodingConfig(), ends=[2])
    assert heard == other[:3] and len(other) == 12


def test_tokens_are_drawn_as_often_as_their_probability_says():
    probabilities, draws = torch.tensor([0.5, 0.25, 0.15, 0.1]), 4_000
    scores = probabilities.log()[None].repeat(draws, 1)
    asked = [Live([], 1, bool, temperature=1.0, seed=n) for n in range(draws)]
    found = Counter(_Chance(asked)([], scores).argmax(-1).tolist())
    expected = probabilities * draws
    chi_square = sum((found[i] - float(e)) ** 2 / float(e) for i, e in enumerate(expected))
    assert chi_square < 16.3  # 3 degrees of freedom, p = 0.001
    narrow = [Live([], 1, bool, temperature=1.0, top_p=0.7, seed=n) for n in range(400)]
    assert set(_Chance(narrow)([], scores[:400]).argmax(-1).tolist()) == {0, 1}
    cold = [Live([], 1, bool, temperature=0.05, seed=n) for n in range(400)]
    assert Counter(_Chance(cold)([], scores[:400]).argmax(-1).tolist())[0] == 400
    mixed = [Live([], 1, bool), Live([], 1, bool, temperature=1.0, seed=2)]
    assert torch.equal(_Chance(mixed)([], scores[:2])[0], scores[0])


MARKERS = Markers(TAGS[:1], special=("<|im_end|>",))
CHANNELS = Markers(channels=True, special=("<|channel|>", "<|message|>", "<|end|>", "<|start|>"))


class Characters:
    """A tokenizer with a token per byte."""

    def decode(self, ids, skip_special_tokens=False):
        return bytes(ids).decode("utf-8", "replace")


def told(raw, markers=MARKERS, prompt="", stops=()):
    one = Transcript(Characters(), markers, prompt, stops)
    pieces = []
    for byte in raw.encode():
        one.add(byte)
        pieces.append(one.piece())
        if one.stopped:
            break
    pieces.append(one.rest())
    return "".join(p.reasoning for p in pieces), "".join(p.text for p in pieces), one, pieces


@pytest.mark.parametrize(
    ("raw", "markers", "prompt", "reasoning", "text"),
    [
        ("plain é 漢字 🎈 text ", MARKERS, "", "", "plain é 漢字 🎈 text"),
        ("<think>so it is</think>\n\nyes", MARKERS, "", "so it is", "yes"),
        ("so it is</think>\nyes<|im_end|>", MARKERS, "<think>\n", "so it is", "yes"),
        ("<think>never ended", MARKERS, "", "never ended", ""),
        ("a < b and <thin ice", MARKERS, "", "", "a < b and <thin ice"),
        ("<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>yes", CHANNELS, "",
         "hm", "yes"),
    ],
)  # fmt: skip
def test_pieces_are_the_answer_with_reasoning_apart(raw, markers, prompt, reasoning, text):
    thought, said, one, _ = told(raw, markers, prompt)
    assert (thought, said) == (reasoning, text)
    assert one.whole() == markers.split(prompt, raw) == Reply(reasoning or None, text)


def test_an_answer_ends_before_what_stops_it_however_that_is_cut_into_tokens():
    thought, said, one, pieces = told("<think>STOP is no stop here</think>one STOP two", stops=("STOP", "two"))
    assert (thought, said) == ("STOP is no stop here", "one ") and one.stopped
    assert told("one STO", stops=("STOP",))[1] == "one STO"
    assert Piece(text="S") not in pieces


def test_whatever_comes_nothing_is_taken_back():
    parts = ["<think>", "</think>", "<|im_end|>", "STOP", " ", "\n", "é", "<", "thin", "x", "漢"]
    rng, said_something = random.Random(5), 0
    for _ in range(300):
        raw = "".join(rng.choices(parts, k=rng.randint(1, 9)))
        thought, said, one, _ = told(raw, stops=("STOP",))
        whole = one.whole()
        assert said == whole.text, raw
        assert thought == (whole.reasoning or ""), raw
        said_something += bool(said)
    assert said_something > 100
