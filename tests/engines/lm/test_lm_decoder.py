"""Rows answered together by the decoder: the tokens that transformers' generate says, whoever joins and leaves."""

import random

import pytest
import torch
from support.answering import answer_all
from support.families.models import ARCHITECTURES, tiny_model

from steps.engines.lm.asked import Asked
from steps.engines.lm.decoder import Decoder
from steps.engines.lm.decoding import DecodingConfig
from steps.engines.lm.generate import answer_ids
from steps.engines.lm.load import LoadedModel, load
from steps.engines.lm.states import SHORTEST_PREFIX, common_prefix, decodable
from steps.engines.lm.threads import torch_threads

# Keys and values of some or all layers aren't kept whole, or the model prepares its prompts itself.
LEFT_TO_TRANSFORMERS = {"Gemma 2", "Gemma 3", "Phi-3", "gpt-oss"}
QUICK = ("Llama", "Gemma 3")


@pytest.fixture(autouse=True)
def one_thread():
    with torch_threads(1):
        yield


def random_prompts(vocabulary: int, count: int, seed: int = 0, begin: int = 0) -> list[list[int]]:
    rng = random.Random(seed)
    start = [rng.randrange(3, vocabulary) for _ in range(begin)]
    return [start + [rng.randrange(3, vocabulary) for _ in range(rng.randint(1, 20))] for _ in range(count)]


def by_transformers(loaded: LoadedModel, prompts: list[list[int]], room: int, ends: list[int]) -> list[list[int]]:
    return answer_ids(loaded, prompts, {**DecodingConfig().in_force(), "max_new_tokens": room}, ends)


def asked_of(prompts: list[list[int]], rooms: list[int], said: list[list[int]], ended: list[int]) -> list[Asked]:
    return [
        Asked(ids, room, lambda token, i=i: bool(said[i].append(token)), lambda i=i: ended.append(i))
        for i, (ids, room) in enumerate(zip(prompts, rooms, strict=True))
    ]


def ends_of(loaded: LoadedModel, prompts: list[list[int]]) -> list[int]:
    """Tokens that some of the answers hold, so that they end before their room does."""
    return [one[4] for one in by_transformers(loaded, prompts[:4], 8, [1]) if len(one) > 4] or [1]


@pytest.fixture(scope="module", params=[pytest.param(n, marks=[] if n in QUICK else [pytest.mark.slow])
                                        for n in ARCHITECTURES])  # fmt: skip
def named(request, tmp_path_factory):
    folder = tiny_model(
        request.param, tmp_path_factory.mktemp("model"), tie_word_embeddings=False, initializer_range=0.5
    )
    return request.param, load(folder, device="cpu")


def test_each_architecture_is_decoded_as_transformers_does_or_left_to_it(named):
    name, loaded = named
    assert decodable(loaded, DecodingConfig()) == (name not in LEFT_TO_TRANSFORMERS)
    assert not decodable(loaded, DecodingConfig(repetition_penalty=1.2))
    if name in LEFT_TO_TRANSFORMERS:
        return
    prompts = random_prompts(loaded.model.config.vocab_size, 9)
    ends = ends_of(loaded, prompts)
    expected = by_transformers(loaded, prompts, 16, ends)
    assert len({len(one) for one in expected}) > 1, "they must end at different times for this test to say anything"
    said: list[list[int]] = [[] for _ in prompts]
    ended: list[int] = []
    answer_all(Decoder(loaded, ends), asked_of(prompts, [16] * 9, said, ended))
    assert said == expected and sorted(ended) == list(range(9))


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    folder = tiny_model("Llama", tmp_path_factory.mktemp("llama"), tie_word_embeddings=False, initializer_range=0.5)
    return load(folder, device="cpu")


@pytest.mark.parametrize("seed", range(6))
def test_who_joins_while_others_are_under_way_is_answered_as_alone(llama, seed):
    rng = random.Random(seed)
    prompts = random_prompts(llama.model.config.vocab_size, 14, seed)
    ends = ends_of(llama, prompts)
    rooms = [rng.choice([1, 3, 9, 90]) for _ in prompts]
    expected = [by_transformers(llama, [p], room, ends)[0] for p, room in zip(prompts, rooms, strict=True)]
    said: list[list[int]] = [[] for _ in prompts]
    ended: list[int] = []
    waiting = asked_of(prompts, rooms, said, ended)
    decoder = Decoder(llama, ends)
    while waiting or decoder.rows:
        if waiting and (not decoder.rows or rng.random() < 0.3):
            count = rng.randint(1, 4)
            decoder.join(waiting[:count])
            waiting = waiting[count:]
        decoder.step()
    assert said == expected and sorted(ended) == list(range(14))


def test_few_that_go_on_dont_hold_the_memory_of_many(llama):
    prompts = random_prompts(llama.model.config.vocab_size, 24)
    said: list[list[int]] = [[] for _ in prompts]
    decoder = Decoder(llama, [-1])
    decoder.join(asked_of(prompts, [2 + n for n in range(24)], said, []))
    places = [decoder._under_way.layers[0]._all[0].data_ptr()]
    while decoder.rows:
        memory = decoder._under_way.layers[0]._all[0]
        assert memory.untyped_storage().nbytes() < 2 * memory.nbytes
        places.append(memory.data_ptr())
        decoder.step()
    assert said == [by_transformers(llama, [p], 2 + n, [-1])[0] for n, p in enumerate(prompts)]
    # Who leaves the others leaves them where they are, but when half are gone.
    assert len(set(places)) < 8


def test_what_all_prompts_begin_with_is_computed_once(llama, monkeypatch):
    prompts = random_prompts(llama.model.config.vocab_size, 8, begin=70)
    prefix = common_prefix(prompts)
    assert prefix == prompts[0][:70]
    read: list[int] = []
    forward = Decoder._forward
    monkeypatch.setattr(
        Decoder, "_forward", lambda self, ids, *rest: read.append(ids.numel()) or forward(self, ids, *rest)
    )
    said: list[list[int]] = [[] for _ in prompts]
    decoder = Decoder(llama, [1], prefix)
    for half in (slice(4), slice(4, 8)):
        answer_all(decoder, asked_of(prompts[half], [6] * 4, said[half], []))
    assert said == by_transformers(llama, prompts, 6, [1])
    assert sum(read) < 70 + 8 * 20 + 8 * 6


def test_a_prefix_leaves_a_token_of_each_and_is_long_enough():
    long = list(range(SHORTEST_PREFIX))
    assert common_prefix([[*long, 7], [*long, 8, 9]]) == long
    assert common_prefix([long, [*long, 8, 9]]) == []
    assert common_prefix([[*long, 5], [*long, 5, 9]]) == long
    assert common_prefix([[*long, 7]]) == common_prefix([[1, 2], [1, 3]]) == []


def test_a_row_chooses_its_tokens_itself_and_has_enough_when_it_says_so(llama):
    prompts = random_prompts(llama.model.config.vocab_size, 2)
    (expected,) = by_transformers(llama, prompts[:1], 5, [1])
    heard: list[list[int]] = [[], []]
    least = lambda scores: int(scores.argmin())  # noqa: E731
    asked = [
        Asked(prompts[0], 5, lambda t: bool(heard[0].append(t))),
        Asked(prompts[1], 5, lambda t: heard[1].append(t) or len(heard[1]) == 3, choose=least),
    ]
    answer_all(Decoder(llama, [1]), asked)
    assert heard[0] == expected and len(heard[1]) == 3
    with torch.no_grad():
        assert heard[1][0] == int(llama.model(torch.tensor([prompts[1]])).logits[0, -1].argmin())
