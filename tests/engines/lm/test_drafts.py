"""Answers that are drafted: the same ones in fewer passes, whatever the drafts say."""

import random
from collections.abc import Callable

import pytest
from support.answering import answer_all

from steps.engines.lm import decoder as decoder_module
from steps.engines.lm import states
from steps.engines.lm.asked import Asked
from steps.engines.lm.decoder import Decoder
from steps.engines.lm.decoding import DecodingConfig
from steps.engines.lm.draft import Draft
from steps.engines.lm.ends import stop_ids
from steps.engines.lm.generate import generate, token_ids
from steps.engines.lm.load import LoadedModel
from steps.engines.lm.states import decodable

ROOM, COUNT = 24, 26
pytestmark = pytest.mark.usefixtures("one_thread")


def asked(loaded: LoadedModel) -> list[list[int]]:
    return token_ids(loaded.tokenizer, texts_of(loaded))


def texts_of(loaded: LoadedModel) -> list[str]:
    rng, found = random.Random(4), set()
    while len(found) < COUNT:
        text = loaded.tokenizer.decode([rng.randrange(40, len(loaded.tokenizer)) for _ in range(rng.randint(3, 20))])
        if loaded.tokenizer(text, add_special_tokens=False)["input_ids"]:
            found.add(text)
    return sorted(found)


def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The widths of all passes."""
    widths: list[int] = []
    forward = Decoder._forward
    spied = lambda self, ids, *rest: widths.append(ids.shape[1]) or forward(self, ids, *rest)  # noqa: E731
    monkeypatch.setattr(Decoder, "_forward", spied)
    return widths


def changed(tokens: list[int], rng: random.Random) -> list[int]:
    at = rng.randrange(len(tokens) + 1)
    others = [[], tokens[:at], [*tokens[:at], 50, 60, *tokens[at:]], tokens[:at] + tokens[at + 2 :], tokens[::-1]]
    return rng.choice([tokens, *others])


def answers(model: LoadedModel, prompts: list[list[int]], texts: list[list[list[int]]] | None, at_once: int):
    """Of the decoder, so many at once; `texts`: those of each one's draft; None: there are no drafts."""
    decoder = Decoder(model, stop_ids(model))
    said: list[list[int]] = [[] for _ in prompts]
    for start in range(0, len(prompts), at_once):
        answer_all(decoder, [
            Asked(prompts[i], ROOM, _noted(said[i]), draft=Draft(prompts[i], texts[i]) if texts else None)
            for i in range(start, min(start + at_once, len(prompts)))
        ])  # fmt: skip
    return said


def _noted(said: list[int]) -> Callable[[int], bool]:
    return lambda token: bool(said.append(token))


@pytest.mark.parametrize("at_once", [1, 7, COUNT])
@pytest.mark.parametrize("spare", [64, 2])
def test_answers_are_those_without_drafts(model, monkeypatch, at_once, spare) -> None:
    if not decodable(model, DecodingConfig()):
        pytest.skip("transformers' generate answers")
    prompts, rng = asked(model), random.Random(5)
    for module in (decoder_module, states):
        monkeypatch.setattr(module, "SPARE", spare)
    widths = passes(monkeypatch)
    expected = answers(model, prompts, None, at_once)
    plain = len(widths)
    for texts in (
        [[] for _ in prompts],
        [[changed(one, rng)] for one in expected],
        [[expected[0], changed(one, rng)] for one in expected],
        [[rng.choice(prompts), rng.choice(prompts)] for _ in expected],
    ):
        assert answers(model, prompts, texts, at_once) == expected
    widths.clear()
    assert answers(model, prompts, [[one] for one in expected], at_once) == expected
    assert len(widths) < plain / 2, "what is drafted well takes few passes"


def test_refused_drafts_dont_fill_the_memory(model, monkeypatch) -> None:
    if not decodable(model, DecodingConfig()):
        pytest.skip("transformers' generate answers")
    prompts = asked(model)
    expected = answers(model, prompts, None, COUNT)
    for module in (decoder_module, states):
        monkeypatch.setattr(module, "SPARE", 4)
    monkeypatch.setattr(Draft, "ahead", lambda self, most, hopes: [7, 8, 9][:most])
    forward, columns = Decoder._forward, []
    spied = lambda self, ids, mask, *rest: columns.append(mask.shape[1]) or forward(self, ids, mask, *rest)  # noqa: E731
    monkeypatch.setattr(Decoder, "_forward", spied)
    assert answers(model, prompts, [[] for _ in prompts], COUNT) == expected
    assert max(columns) <= max(map(len, prompts)) + ROOM + 4 + 4


def test_evaluations_give_drafts_as_text(model) -> None:
    prompts = texts_of(model)
    expected = generate(model, prompts, max_new_tokens=ROOM, batch_size=4, special=True)
    for drafts in ([[one.text] for one in expected], [["", "?"] for _ in prompts]):
        assert generate(model, prompts, max_new_tokens=ROOM, batch_size=3, special=True, drafts=drafts) == expected


def test_rooms_are_kept_to(model) -> None:
    prompts, rng = texts_of(model), random.Random(6)
    rooms = [rng.randint(1, 9) for _ in prompts]
    expected = [generate(model, [p], max_new_tokens=r, batch_size=1)[0] for p, r in zip(prompts, rooms, strict=True)]
    whole = generate(model, prompts, max_new_tokens=30, batch_size=8, special=True)
    drafts = [[one.text] for one in whole]
    assert generate(model, prompts, max_new_tokens=rooms, batch_size=8, drafts=drafts) == expected


def test_a_draft_goes_on_behind_a_token_of_its_own() -> None:
    draft = Draft([1, 2], [[10, 11, 12, 13, 14, 15]])
    assert draft.ahead(3) == [10, 11, 12] and draft.ahead(9, lambda kind: False) == []
    draft.hear(10)
    draft.hear(99)  # in place of 11
    assert draft.ahead(2) == [12, 13]
    draft.hear(14)  # passes over 12 and 13
    assert draft.ahead(9) == [15]
    assert draft.tried(0) == 0 and draft.ahead(9) == []


def test_a_text_that_foresees_is_followed_again() -> None:
    draft = Draft([1], [[10, 11, 12, 13, 14, 15], [20, 21]])
    assert draft.ahead(9) == [10, 11, 12, 13, 14, 15] and draft.tried(0) == 0
    assert draft.ahead(9) == [20, 21] and draft.tried(0) == 1
    for token in (10, 11, 12):
        draft.hear(token)
        assert draft.ahead(9) == []
    draft.hear(13)
    assert draft.ahead(9) == [14, 15]


def test_a_loop_is_foreseen_and_goes_on_with_itself() -> None:
    draft = Draft([1, 2, 3])
    for token in (7, 8, 9, 7, 8, 9, 7, 8):
        draft.hear(token)
        assert draft.ahead(9) == []
    draft.hear(9)
    assert draft.ahead(9) == [7, 8, 9, 7, 8, 9, 7, 8]
    draft.hear(5)
    assert draft.ahead(9) == [] and draft.tried(0) is None
