"""Answers that losses have begun: the same ones, of which less is computed."""

import random

import pytest

from steps.engines.lm.begun import BegunAnswers
from steps.engines.lm.decoder import Decoder
from steps.engines.lm.decoding import DecodingConfig
from steps.engines.lm.ends import stop_ids
from steps.engines.lm.generate import Generated, answer_ids, generate, token_ids
from steps.engines.lm.load import LoadedModel
from steps.engines.lm.loss import IGNORED, token_losses
from steps.engines.lm.states import SHORTEST_PREFIX, common_prefix, decodable

ROOM, COUNT = 12, 18
pytestmark = pytest.mark.usefixtures("one_thread")


def asked(loaded: LoadedModel) -> tuple[list[str], list[list[int]]]:
    """Prompts that are the same as text and as tokens."""
    rng, found = random.Random(2), {}
    while len(found) < COUNT:
        text = loaded.tokenizer.decode([rng.randrange(40, len(loaded.tokenizer)) for _ in range(rng.randint(3, 20))])
        ids = loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
        if ids:
            found[text] = ids
    return list(found), list(found.values())


def references(loaded: LoadedModel, prompts: list[list[int]], ends: list[int]) -> list[list[int]]:
    """What should be said: the greedy answer, a part of it, or with one token changed; some with an end behind."""
    rng = random.Random(3)
    options = {**DecodingConfig().in_force(), "max_new_tokens": ROOM}
    made = []
    for n, answer in enumerate(answer_ids(loaded, prompts, options, ends)):
        said = answer[: rng.randint(1, ROOM)] if n % 3 == 1 else list(answer) or [ends[0]]
        if n % 3 == 2:
            at = rng.randrange(len(said))
            said[at] = (said[at] + 1) % len(loaded.tokenizer)
        made.append([*said, *ends[:1]] if n % 2 else said)
    return made


def losses(
    loaded: LoadedModel, prompts: list[list[int]], wanted: list[list[int]], begun: BegunAnswers | None, **options
):
    examples = [(p + w, [IGNORED] * len(p) + w) for p, w in zip(prompts, wanted, strict=True)]
    spans = {i: (len(p), len(p) + len(w)) for i, (p, w) in enumerate(zip(prompts, wanted, strict=True)) if i != 4}
    return token_losses(loaded, examples, batch_size=5, begun=begun, spans=spans, **options)


@pytest.mark.parametrize("held_bytes", [0, 40_000, 2**29])
def test_answers_are_those_without_what_the_losses_told(model, monkeypatch, held_bytes) -> None:
    texts, prompts = asked(model)
    some = answer_ids(model, prompts[:4], {**DecodingConfig().in_force(), "max_new_tokens": 6}, [1])
    monkeypatch.setattr(model.model.generation_config, "eos_token_id", [one[4] for one in some if len(one) > 4] or [1])
    ends = stop_ids(model)
    expected = generate(model, texts, max_new_tokens=ROOM, batch_size=4, special=True)
    wanted = references(model, prompts, ends)
    begun = BegunAnswers(model, ends, held_bytes)
    assert losses(model, prompts, wanted, begun) == losses(model, prompts, wanted, None)
    found = [begun.get(p) for p in prompts]
    assert found[4] is None and sum(one is not None for one in found) == COUNT - 1
    whole = sum(one is not None and (one.ended or len(one.tokens) >= ROOM) for one in found)
    assert 2 < whole < COUNT - 2, "some answers must be whole, and some not, for this test to say anything"
    held = sum(bool(one and one.states) for one in found)
    going_on = COUNT - 1 - sum(one is not None and one.ended for one in found)
    by_decoder = decodable(model, DecodingConfig())
    assert (held == going_on if held_bytes > 40_000 else held < going_on) if by_decoder else held == 0
    read: list[int] = []
    forward = Decoder._forward
    spied = lambda self, ids, *rest: read.append(ids.numel()) or forward(self, ids, *rest)  # noqa: E731
    monkeypatch.setattr(Decoder, "_forward", spied)
    assert generate(model, texts, max_new_tokens=ROOM, batch_size=4, special=True, begun=begun) == expected
    with_begun = sum(read)
    read.clear()
    assert generate(model, texts, max_new_tokens=ROOM, batch_size=4, special=True) == expected
    assert with_begun < sum(read) * (0.75 if held else 1) or not by_decoder


@pytest.mark.parametrize("held_bytes", [0, 2**29])
def test_what_all_begin_with_is_read_once(model, held_bytes) -> None:
    texts, prompts = asked(model)
    rng, ends = random.Random(4), stop_ids(model)
    before = [rng.randrange(40, len(model.tokenizer)) for _ in range(SHORTEST_PREFIX + 8)]
    texts = [model.tokenizer.decode(before) + text for text in texts]
    prompts = token_ids(model.tokenizer, texts)
    prefix = len(common_prefix(prompts))
    assert prefix >= SHORTEST_PREFIX, "they must have something in common for this test to say anything"
    wanted = references(model, prompts, ends)
    read: list[int] = []
    hook = model.model.register_forward_pre_hook(
        lambda _, __, given: read.append(given["input_ids"].numel()), with_kwargs=True
    )
    expected = losses(model, prompts, wanted, None)
    whole = sum(read)
    read.clear()
    begun = BegunAnswers(model, ends, held_bytes)
    found = losses(model, prompts, wanted, begun, shared=True)
    hook.remove()
    assert [n for _, n in found] == [n for _, n in expected]
    assert [x for x, _ in found] == pytest.approx([x for x, _ in expected], rel=1e-5)
    if decodable(model, DecodingConfig()):
        assert sum(read) < whole - (COUNT - 2) * prefix
    answers = generate(model, texts, max_new_tokens=ROOM, batch_size=4, special=True)
    assert generate(model, texts, max_new_tokens=ROOM, batch_size=4, special=True, begun=begun) == answers


def test_what_says_a_counted_token_is_not_read_for_all(model) -> None:
    """Behind the prefix alone stands the first counted token of one: it is a token shorter."""
    before = list(range(2, 2 + SHORTEST_PREFIX + 1))
    examples = [([*before, 50 + n, 60], [IGNORED] * len(before) + [50 + n, 60]) for n in range(3)]
    expected = token_losses(model, examples, batch_size=3)
    found = token_losses(model, examples, batch_size=3, shared=True)
    assert [n for _, n in found] == [2, 2, 2]
    assert [x for x, _ in found] == pytest.approx([x for x, _ in expected], rel=1e-5)
    documents = [(ids, ids) for ids, _ in examples]
    assert token_losses(model, documents, batch_size=3, shared=True) == token_losses(model, documents, batch_size=3)


def test_other_ways_of_decoding_take_nothing_from_it(model) -> None:
    texts, prompts = asked(model)
    ends = stop_ids(model)
    begun = BegunAnswers(model, ends)
    losses(model, prompts, references(model, prompts, ends), begun)
    begun._known = {key: type(one)([7] * ROOM) for key, one in begun._known.items()}
    sevens = generate(model, texts, max_new_tokens=2, batch_size=4, special=True, begun=begun)
    text = model.tokenizer.decode([7, 7]).strip()
    assert sevens.count(Generated(text, cut=True, tokens=2)) >= COUNT - 1
    penalty = DecodingConfig(repetition_penalty=1.3)
    expected = generate(model, texts, max_new_tokens=3, batch_size=4, decoding=penalty)
    assert generate(model, texts, max_new_tokens=3, batch_size=4, decoding=penalty, begun=begun) == expected


def test_after_a_token_that_is_not_the_most_probable_one_nothing_is_taken(model) -> None:
    begun = BegunAnswers(model, [9])
    text = [3, 4, 5, 6, 7]
    for best, tokens, ended in (
        ([5, 6, 7], [5, 6, 7], False), ([5, 8, 7], [5, 8], False), ([8, 6, 7], [8], False),
        ([9, 6, 7], [], True), ([5, 9, 7], [5], True),
    ):  # fmt: skip
        begun.add(text, 2, best, None, 0)
        one = begun.get([3, 4])
        assert one is not None and (one.tokens, one.ended) == (tokens, ended)
    assert begun.get([3, 4, 5]) is None
