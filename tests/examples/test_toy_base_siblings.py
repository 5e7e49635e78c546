import itertools
import json
import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from examples.toy_base.english import COMMON_WORDS, held_out_paragraph, is_held_out, paragraph
from examples.toy_base.siblings import DECLINE, example

# The quickstart's schema (examples/order_mails.py): what a run on the scratch model is to learn.
TARGET = {"item", "color", "quantity", "city"}


def drawn(count: int, **shares: float) -> list[tuple[str, str]]:
    rng = random.Random(11)
    found = [example(rng, **{"decline_share": 0.2, **shares}) for _ in range(count)]
    return [(e.prompt, e.answer) for e in found]


def test_target_schema_never_occurs() -> None:
    seen: Counter[str] = Counter()
    for prompt, answer in drawn(20_000, bare_share=0.3):
        keys = set(json.loads(answer))
        seen.update(keys)
        assert not keys & TARGET
        instruction = prompt.split("\n\n")[0].lower()
        assert not TARGET & set(instruction.replace(",", " ").replace(".", " ").split())
    assert len(seen) > 12 and seen["error"] > 1_000


def test_right_answers_are_stated_in_the_text() -> None:
    words = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    checked = 0
    for prompt, answer in drawn(3_000, bare_share=0.3):
        text = prompt.split("\n\n")[-1].lower()
        if answer == DECLINE:
            continue
        for value in json.loads(answer).values():
            assert str(value).lower() in text or (isinstance(value, int) and words[value] in text)
            checked += 1
    assert checked > 5_000


def test_share_of_declines_is_what_was_asked() -> None:
    answers = Counter(a == DECLINE for _, a in drawn(4_000))
    assert 0.17 < answers[True] / 4_000 < 0.23


@given(st.integers(0, 2**32), st.integers(1, 6))
def test_held_out_sentences_are_never_trained_on(seed: int, sentences: int) -> None:
    rng = random.Random(seed)
    for text, held in ((paragraph(rng, sentences), False), (held_out_paragraph(rng, sentences), True)):
        for sentence in text.removesuffix(".").split(". "):
            assert is_held_out(sentence + ".") is held


def test_held_out_sentences_are_as_varied_as_the_others() -> None:
    rng = random.Random(2)
    texts = {held_out_paragraph(rng, 1) for _ in range(300)}
    assert len(texts) > 280
    assert len(set(itertools.chain(*(t.split() for t in texts)))) > 300
    assert len(set(COMMON_WORDS)) == len(COMMON_WORDS)
