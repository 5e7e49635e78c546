"""What is served, on the templates of 16 model families: evaluation's final texts, from the same prompts."""

import json
from dataclasses import asdict

import pandas as pd
import pytest
from support.families.cells import Cell, cells, in_force
from support.families.families import FAMILIES
from support.families.rows import ROWS, said
from support.families.speaking import said_back, script_of

from steps.contracts.thinking import THINK_TAG
from steps.engines.exports.served import ServedModel
from steps.engines.scoring.answers import read_answers

# Of a row, as a request has them.
FIELDS = {
    **{k: k for k in ("role", "content", "name", "tool_calls", "tool_call_id")},
    "reasoning": "reasoning_content",
}


def served(cell: Cell) -> str:
    """What the exported model answers the row's last turn with, asked as one asks it."""
    tokenizer, template = in_force(FAMILIES[cell.family], cell.thinking, cell.system)
    one = ServedModel()
    one.tokenizer, one.device = tokenizer, "cpu"
    one.model, one.ends = script_of(cell)
    one.settings = {
        "max_new_tokens": 400, "batch_size": 1, "batch_tokens": 4_096, "generation": {"do_sample": False},
        "thinking": cell.thinking, "dialect": asdict(template.dialect), "markers": asdict(template.markers),
    }  # fmt: skip
    row = ROWS[cell.row]
    messages = [{FIELDS[k]: v for k, v in m.items() if k in FIELDS and v is not None} for m in said(row)]
    last = max(i for i, m in enumerate(messages) if m["role"] == "assistant")
    # Tools as callers write them: nothing says in which order.
    tools = row["tools"] and json.dumps([dict(reversed(tool.items())) for tool in json.loads(row["tools"])])
    asked = pd.DataFrame([{"messages": messages[:last], "tools": tools}])
    return one.predict(None, asked)[0]


def asked_alike(cell: Cell) -> bool:
    """Whether evaluation's prompt says nothing that a request can't: which tags a row's reasoning stood in."""
    row = ROWS[cell.row]
    tagged = THINK_TAG in json.loads(row["meta"] or "{}")
    return row["kind"] != "document" and not tagged and bool(cell.outcome().sequences)


def evaluated(cell: Cell, folder) -> str:
    (answer,) = read_answers(said_back(cell, folder).answers)["held_out"]
    return answer.answer


@pytest.mark.parametrize("family", FAMILIES)
def test_a_conversation_of_each_family_is_served_as_it_was_evaluated(family, tmp_path):
    cell = Cell(family, "multi-turn")
    assert served(cell) == evaluated(cell, tmp_path) == said(ROWS[cell.row])[-1]["content"]


def test_tools_are_served_in_the_order_of_keys_that_they_were_trained_in(tmp_path):
    cell = Cell("Qwen 2.5", "tools")
    assert served(cell) == evaluated(cell, tmp_path) == said(ROWS[cell.row])[-1]["content"]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_cell_is_served_as_it_was_evaluated(family, tmp_path):
    found = [c for c in cells() if c.family == family and asked_alike(c)]
    assert len(found) > 40
    assert [c for c in found if served(c) != evaluated(c, tmp_path)] == []
