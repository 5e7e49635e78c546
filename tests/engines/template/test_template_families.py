"""The chat templates of 16 model families: every kind of row is trained as it is generated, or refused with the reason.

The whole matrix is in `make test-slow`; `make test` has one cell per family. docs/families.md is the table.
"""

from dataclasses import replace
from pathlib import Path

import pytest
from support.families import rows, table
from support.families.cells import SETTINGS, Cell, cells, in_force
from support.families.families import FAMILIES, Family, template, tokenizer
from support.families.oracle import Oracle, Tokens
from support.families.rows import ROWS
from support.families.speaking import said_back
from support.linting import Lint

from steps.engines.scoring.answers import read_answers

ROOT = Path(__file__).resolve().parents[3]
IGNORED = -100


@pytest.mark.parametrize("family", FAMILIES)
def test_a_conversation_of_each_family_is_trained(family):
    assert Cell(family, "multi-turn").verdict() == "trained"


@pytest.mark.parametrize(("cell", "verdict"), [
    # A template that writes role headers in its loop has no prompt for an empty conversation.
    (Cell("Zephyr", "assistant first"), "trained, without opening turn"),
    (Cell("Llama 3", "system, assistant first", system="merge_into_user"), "trained, without opening turn"),
    # Transformers leaves out contents of None, which this template's calls are written by.
    (Cell("R1 distill", "call without definitions"), "refused: call_missing"),
    # SentencePiece's space stands before a document's first character, not before BOS.
    (Cell("Mistral v0.3", "document"), "trained"),
    # Two calls in a turn, which the template refuses, but behind all that is trained.
    (Cell("Llama 3.1", 155, "off"), "trained, without reasoning"),
    # Special tokens that swallow the blanks beside them are the prompt's.
    (Cell("Phi-3", "blanks around"), "trained"),
    (Cell("Phi-4", "blanks around"), "trained"),
    # The system message is in some of the row's prompts only.
    (Cell("Mistral v0.3", "tools, system, multi-turn"), "refused: system_missing"),
    (Cell("Mistral v0.3", "tools, system, multi-turn", system="merge_into_user"), "trained"),
], ids=str)  # fmt: skip
def test_what_a_tokenizer_or_template_does_oddly(cell, verdict):
    assert cell.verdict() == verdict


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
@pytest.mark.parametrize("name", ["system, multi-turn", "system in the middle", "tools, system"])
def test_dropped_system_messages_are_as_if_they_were_none(family, name):
    row = ROWS[name]
    without = {**row, "messages": [m for m in row["messages"] if m["role"] != "system"]}
    dropped = Lint(*in_force(family, "as_is", "drop")).check(row)
    never = Lint(*in_force(family, "as_is", "keep")).check(without)
    assert (dropped.encoded, dropped.reason) == (never.encoded, never.reason)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_cell_is_right_or_refused(family):
    wrong = {c: v for c in cells() if c.family == family and (v := c.verdict()).startswith("WRONG")}
    assert wrong == {}


@pytest.mark.slow
def test_the_page_is_what_the_command_prints():
    assert (ROOT / "docs" / "families.md").read_text("utf-8") == table.page()


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_conversations_by_chance_are_right_or_refused(family):
    tried = [Cell(family, number, *SETTINGS[number % len(SETTINGS)]) for number in range(160)]
    assert {c: v for c in tried if (v := c.verdict()).startswith("WRONG")} == {}


def test_a_template_that_is_not_the_published_one_is_noticed():
    changed = replace(FAMILIES["Zephyr"], file="templates/microsoft-phi-4.jinja")
    with pytest.raises(LookupError, match=r"no longer the template of HuggingFaceH4/zephyr-7b-beta"):
        template(changed)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_a_family_has_its_tokens(family: Family):
    made = tokenizer(family)
    for text in (*family.special, *family.added, *family.ends, *filter(None, (family.bos, family.eos, family.pad))):
        assert made.tokenize(text) == [text]
    assert (made("rain")["input_ids"][0] == made.bos_token_id) == family.writes_bos


# The judge itself: whatever is changed about a right sequence, it sees.
def right(family="Qwen 2.5", row="tools"):
    cell = Cell(family, row)
    (tokens,) = cell.outcome().sequences
    return cell.oracle, tokens


def faults(oracle, tokens, *, ids=None, labels=None):
    return oracle.faults([Tokens(ids or tokens.ids, labels or tokens.labels)])


def test_the_judge_has_nothing_to_say_of_what_is_right():
    assert faults(*right()) == []


@pytest.mark.parametrize("shift", [-1, 1])
def test_the_judge_sees_a_stretch_that_begins_too_early_or_too_late(shift):
    oracle, tokens = right()
    start = tokens.runs[0][0]
    labels = list(tokens.labels)
    labels[start - 1 if shift < 0 else start] = tokens.ids[start - 1] if shift < 0 else IGNORED
    assert "which is no turn's inference prompt" in faults(oracle, tokens, labels=labels)[0]


def test_the_judge_sees_a_missing_end():
    oracle, tokens = right()
    labels = list(tokens.labels)
    labels[tokens.runs[-1][1] - 1] = IGNORED
    assert faults(oracle, tokens, labels=labels) == ["turn 3 ends in ' light rain.', no end marker"]


def test_the_judge_sees_a_turn_that_is_not_trained():
    oracle, tokens = right()
    start, end = tokens.runs[0]
    labels = [IGNORED if start <= i < end else label for i, label in enumerate(tokens.labels)]
    assert faults(oracle, tokens, labels=labels) == ["turn 1 isn't trained"]


def test_the_judge_sees_what_a_template_does_not_write():
    silent = Oracle(FAMILIES["ChatML"], ROWS["tools"])
    assert silent.obstacle() == "a tool's name isn't there"
    made, text = tokenizer(silent.family), silent.through(3)
    ids = made(text, add_special_tokens=False)["input_ids"]
    start = len(made(silent.prompt(1), add_special_tokens=False)["input_ids"])
    found = silent.faults([Tokens(ids, [IGNORED] * start + [ids[start], *[IGNORED] * (len(ids) - start - 1)])])
    assert "a call's argument isn't there (turn 1)" in found
    assert "a tool's name isn't there (before turn 1)" in found


def test_the_judge_sees_a_trained_turn_of_weight_0():
    oracle, tokens = right("Qwen 2.5", "weight 0")
    whole = Cell("Qwen 2.5", "multi-turn").outcome().sequences[0]
    assert "blank or of weight 0" in faults(oracle, tokens, labels=whole.labels)[0]


@pytest.mark.parametrize("drop", [0, -1])
def test_the_judge_sees_a_document_without_its_first_or_last_token(drop):
    oracle, tokens = right("Llama 3", "document")
    ids, labels = list(tokens.ids), list(tokens.labels)
    del ids[drop], labels[drop]
    assert "its tokens begin and end with" in faults(oracle, tokens, ids=ids, labels=labels)[0]


# What evaluation makes of a model that says what was trained, and of one that doesn't.
def exact_match(cell, folder, **options):
    (task,) = said_back(cell, folder, **options).report.tasks
    return next(m.estimate.value for m in task.metrics if m.name == "exact_match")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_that_says_what_it_was_trained_on_scores_1_and_another_0(family, tmp_path):
    cell = Cell(family, "multi-turn")
    assert exact_match(cell, tmp_path / "right") == 1.0
    assert exact_match(cell, tmp_path / "wrong", instead="Nobody knows.") == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_trained_cell_scores_1_when_it_is_said_back_and_0_when_not(family, tmp_path):
    trained = [c for c in cells() if c.family == family and c.row != "document" and c.outcome().sequences]
    assert trained
    assert [c for c in trained if exact_match(c, tmp_path) != 1.0] == []
    assert [c for c in trained if exact_match(c, tmp_path, instead="Nobody knows.") != 0.0] == []


@pytest.mark.parametrize(("family", "row", "thinking"), [
    ("Qwen3", "reasoning", "as_is"), ("R1 distill", "reasoning", "as_is"), ("gpt-oss", "reasoning", "as_is"),
    ("Llama 3", "reasoning", "on"), ("Zephyr", "reasoning in tags", "as_is"),
])  # fmt: skip
def test_reasoning_and_final_text_are_kept_apart(family, row, thinking, tmp_path):
    (answer,) = read_answers(said_back(Cell(family, row, thinking), tmp_path).answers)["held_out"]
    assert (answer.answer, answer.reasoning) == (rows.ANSWER, rows.THOUGHT)
