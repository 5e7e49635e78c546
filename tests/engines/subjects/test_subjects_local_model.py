"""A local model as a subject: the room of its answers, its context, its memory."""

import gc
import json

import pytest
import torch
from support.live_tensors import live_bytes

from steps.contracts.errors import ConfigError
from steps.contracts.records import make_row, message
from steps.engines.subjects import local_model as subjects
from steps.engines.subjects.local_model import Inference, local_model
from steps.engines.subjects.subject import Prompt

CPU = Inference(device="cpu")
WORD = "abc "  # of a vocabulary without it: each letter is a token


def asked(monkeypatch, model, prompts: list[Prompt], inference: Inference = CPU, room: int | None = None):
    """The rooms that were generated with, by prompt, and what came back."""
    rooms: dict[str, int] = {}
    own = subjects.generate

    def spied(loaded, texts, **how):
        rooms.update(zip(texts, how["max_new_tokens"], strict=True))
        return own(loaded, texts, **how)

    monkeypatch.setattr(subjects, "generate", spied)
    with local_model("any", model, None, inference) as subject:
        return rooms, subject.answer(prompts, room)


@pytest.mark.slow
def test_one_long_reference_does_not_let_the_others_run_on(tiny_model, monkeypatch) -> None:
    prompts = [Prompt("a", "x" * 3), Prompt("b", "x" * 20), Prompt("c", "x" * 200)]
    rooms, replies = asked(monkeypatch, tiny_model, prompts)
    # 4 n + 64, up to a power of two: 76, 144, 864; the longest reference's room is 1.25 n + 8.
    assert rooms == {"a": 128, "b": 256, "c": 258}
    assert replies.max_new_tokens == 258
    assert replies.cut == 3, "a random model never ends"
    assert asked(monkeypatch, tiny_model, prompts, room=10)[0] == {"a": 10, "b": 10, "c": 10}


@pytest.mark.slow
def test_a_prompt_near_the_end_of_the_context_has_what_is_left_if_that_is_enough(tiny_model, monkeypatch) -> None:
    inference = Inference(device="cpu", max_length=60)
    prompts = [Prompt("a" * n, "x" * 10) for n in (10, 38, 40)]
    rooms, replies = asked(monkeypatch, tiny_model, prompts, inference)
    # An answer needs 1.25 * 10 + 8 = 21.
    assert list(rooms.values()) == [21, 21]
    assert [text is None for text in replies.texts] == [False, False, True]
    assert replies.notes == ("1 prompts leave no room for an answer within 60 tokens: not asked, scored as wrong",)
    mixed = [Prompt("a" * 10, "x" * 10), Prompt("b", "x" * 30)]
    rooms, _ = asked(monkeypatch, tiny_model, mixed, inference)
    assert list(rooms.values()) == [46, 46]


@pytest.mark.slow
@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no"), RuntimeError("[...] DefaultCPUAllocator: can't ...")])
def test_an_end_of_memory_says_what_to_lower(tiny_model, monkeypatch, error) -> None:
    with local_model("any", tiny_model, None, CPU) as subject:

        def full(*_, **__):
            raise error

        monkeypatch.setattr(subject._loaded.model, "forward", full)
        with pytest.raises(ConfigError) as found:
            subject.answer([Prompt("a", "b")], None)
    assert (found.value.what, found.value.where) == (
        "out of memory on cpu at batch_size 16, batch_tokens 16384", "evaluate"
    )  # fmt: skip


@pytest.mark.slow
def test_other_errors_of_torch_are_what_they_are(tiny_model, monkeypatch) -> None:
    with local_model("any", tiny_model, None, CPU) as subject:

        def wrong(*_, **__):
            raise RuntimeError("shapes differ")

        monkeypatch.setattr(subject._loaded.model, "forward", wrong)
        with pytest.raises(RuntimeError, match="shapes differ"):
            subject.answer([Prompt("a", "b")], None)


@pytest.mark.slow
def test_a_closed_model_holds_nothing(tiny_model) -> None:
    before = live_bytes()
    gc.disable()
    try:
        with local_model("any", tiny_model, None, CPU) as subject:
            subject.answer([Prompt("a", "b")], 4)
            assert live_bytes() > before + 4 * tiny_model.info.parameters
        assert live_bytes() <= before
    finally:
        gc.enable()


def said(*messages, **fields):
    row = [message(role, text, **more) for role, text, more in messages]
    return make_row(kind="conversation", source="s", locator="1", raw=b"x", messages=row, **fields)


CALL = json.dumps([{"type": "function", "function": {"name": "add", "arguments": '{"a": "two"}'}}])
TOOLS = json.dumps([{"type": "function", "function": {"name": "add"}}])


@pytest.mark.slow
def test_rows_of_which_the_template_leaves_something_out_are_neither_scored_nor_asked(tiny_model) -> None:
    """The tiny model's template writes no calls, tools or reasoning."""
    hi, bye = ("user", "hi", {}), ("assistant", "one two", {})
    rows = [
        said(hi, bye),
        said(hi, ("assistant", "", {"tool_calls": CALL})),
        said(hi, ("assistant", "", {"tool_calls": CALL, "weight": 0}), ("user", "and", {}), bye),
        said(hi, bye, tools=TOOLS),
        said(hi, ("assistant", "one two", {"reasoning": "I count"})),
    ]
    with local_model("any", tiny_model, None, CPU) as subject:
        losses, asked = subject.losses(rows), subject.prompts(rows)
    assert [loss is not None for loss in losses.rows] == [True, False, False, False, False]
    assert losses.notes == (
        "4 rows have no token to score: no token is trained, or the template refuses them or doesn't write all that"
        " they say",
    )
    assert [prompt is not None for prompt in asked.prompts] == [True, False, False, False, True]
    assert asked.notes == ("3 of 5 rows can't be asked, so they are left out: the template doesn't write a tool call",)
