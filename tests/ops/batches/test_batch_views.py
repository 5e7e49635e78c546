"""Batches as they are drawn: on the terminal and as a page, of text that wants to be more than text."""

import html
import re
from dataclasses import replace

import pytest
from support.tiny_model import build_tiny_model, tiny_dataset, tiny_row

from ops.batches.inputs import Rows
from ops.batches.page import render_batch
from ops.batches.shown import shown
from ops.batches.terminal import draw
from steps.train.config import TrainConfig
from steps.train.watching.preview import preview

HOSTILE = "<script>alert(1)</script>\x1b[2J\u202eevil\u202c [bold red]x[/] line 9: 0 tokens\r</span> é 漢 \U0001f600"
SETTINGS = {"per_device_train_batch_size": 4, "max_steps": 1, "max_length": 160, "overlong": "truncate"}


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    folder = tmp_path_factory.mktemp("batch")
    rows = [tiny_row(0, answer=HOSTILE), tiny_row(1), tiny_row(2, answer="word " * 100), tiny_row(3, answer="")]
    dataset = tiny_dataset(folder / "rows", rows)
    found = preview(build_tiny_model(folder / "model"), dataset, TrainConfig.model_validate(SETTINGS), folder / "b")
    return shown("a<b>", 1, found, Rows(dataset, "here", True, True), None, ["a note"])


def line_with(batch, text):
    whole = {line: "".join(p.text for s in line.spans for p in s.pieces) for line in batch.passes[0]}
    return next((line, words) for line, words in whole.items() if text in words)


@pytest.mark.slow
def test_pieces_put_together_are_the_text_and_characters_of_several_tokens_are_one_piece(batch):
    line, words = line_with(batch, "alert")
    assert HOSTILE in words
    pieces = [p for s in line.spans for p in s.pieces]
    assert sum(len(p.ids) for p in pieces) == line.tokens
    assert [len(p.ids) for p in pieces if "\U0001f600" in p.text] == [4]
    assert "".join(p.text for p in pieces if p.trained) == HOSTILE + "<|im_end|>"


def test_the_terminal_gets_no_control_character_and_text_can_not_pass_for_a_heading(batch, capsys):
    draw(batch)
    out = capsys.readouterr().out
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]", out)
    assert "[bold red]x[/]" in out
    assert [x for x in out.splitlines() if x.startswith("line ")] == [
        f"line {line.number}: {line.tokens} tokens, {line.trained} trained"
        + (f", {line.left + line.right} of padding" if line.left + line.right else "")
        for line in batch.passes[0]
    ]
    assert "changed: truncated: 1" in out
    assert "dropped: blank_answer: 1" in out
    assert "✂ truncated at max_length: the row has" in out


def test_the_page_holds_the_text_and_nothing_that_acts(batch):
    page = render_batch(replace(batch, refusal="<i>no</i>"))
    assert "<script" not in page
    assert "<b>" not in page.replace("<b>assay</b>", "")
    assert "<i>" not in page
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]", page)
    trained = html.unescape("".join(re.findall(r'<span class="t" title="[\d ]+">(.*?)</span>', page, re.S)))
    assert "<script>alert(1)</script>�[2J�evil� [bold red]x[/] line 9: 0 tokens" in trained
    assert page.count('class="line"') == len(batch.passes[0])


def test_lines_that_are_not_asked_for_are_counted(batch, tmp_path):
    assert batch.hidden == 0
    assert [len(s) for s in batch.passes] == [3]
