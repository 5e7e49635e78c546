"""What counts as an answer that is none: every case told by hand, and plain answers that must pass."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.engines.graders.degeneration import NAMES, degeneration, loops, says_nothing, seq_rep_4

WORDS = [f"w{n}" for n in range(60)]


@pytest.mark.parametrize("text", ["", "  \n", "...", "\ufffd \ufffd", "\x00\x1f", '{"": []}', "- - -", "!?"])
def test_nothing_is_said_by_white_space_and_punctuation(text):
    assert says_nothing(text)


@pytest.mark.parametrize("text", ["no", "7", "✓", "ไม่", "否", "😀", "€", "≥", "… end"])
def test_a_letter_a_digit_or_a_sign_says_something(text):
    assert not says_nothing(text)


@pytest.mark.parametrize(
    "text",
    [
        "the the the the the the",
        "It left. It left. It left. It left.",
        "Well, that is a good question. " + "and then " * 9,
        "的" * 20,
        "ha" * 12,
        "one two three four five. " * 2 + "one two three four five. one two three four",
        " ".join(["the order is late today"] * 5) + " though",  # not at the end, but 25 words of five kinds
    ],
)
def test_loops_are_found_in_any_script(text):
    assert loops(text)


@pytest.mark.parametrize(
    "text",
    [
        "No, no, no",
        "ha ha ha",
        "1,000,000,000,000",
        "Row, row, row your boat gently down the stream",
        '{"a": 0, "b": 0, "c": 0, "d": 0, "e": 0}',
        "Buffalo buffalo Buffalo buffalo.",
        " ".join(WORDS),
    ],
)
def test_what_people_repeat_is_no_loop(text):
    assert not loops(text)


def test_seq_rep_4_counts_the_grams_that_stood_there_before():
    # 12 words are 9 grams; "a b c d" over and over has four kinds of them: 1 - 4 / 9.
    assert seq_rep_4(" ".join("abcd" * 3)) == pytest.approx(1 - 4 / 9)
    assert seq_rep_4(" ".join("abcd" * 2)) == 0.0  # five grams say nothing
    assert seq_rep_4(" ".join(WORDS)) == 0.0


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 25), st.integers(0, 10_000))
def test_a_period_is_found_wherever_it_begins(period, seed):
    generator = random.Random(seed)
    phrase = "".join(generator.choice("abcdefgh ") for _ in range(period)).strip() or "a"
    start = " ".join(generator.choice(WORDS) for _ in range(30))
    assert loops(f"{start} " + phrase * max(4, 40 // len(phrase)))


def test_what_is_wanted_is_no_fault():
    drums = "rum pum pum pum pum pum pum pum"
    faults = degeneration([drums, "...", drums, None], [drums, "?!", "Once upon a time", "anything"])
    assert [f["degenerate"] for f in faults] == [0.0, 0.0, 1.0, 0.0]
    assert all(f.keys() == set(NAMES) for f in faults)


def test_one_answer_to_everything_is_a_fault_where_another_was_wanted():
    wanted = ["blue"] * 6 + ["red"] * 14
    collapsed = degeneration(["Blue "] * 19 + ["red"], wanted)
    assert [f["one_answer"] for f in collapsed] == [0.0] * 6 + [1.0] * 13 + [0.0]
    assert sum(f["degenerate"] for f in collapsed) == 13
    # A weak classifier, and too few prompts to tell.
    assert not any(f["one_answer"] for f in degeneration(["blue"] * 17 + ["red"] * 3, wanted))
    assert not any(f["one_answer"] for f in degeneration(["blue"] * 9, ["red"] * 9))
