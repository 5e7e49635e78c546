"""What a request is put to a model as, on the templates of 16 model families: the prompt of its evaluation."""

import json

import pytest
from support.families.cells import Cell, cells, in_force
from support.families.families import FAMILIES

from ops.serving.requests import read_request
from steps.contracts.records import Row
from steps.contracts.thinking import THINK_TAG
from steps.engines.formats.format import AS_USUAL
from steps.engines.formats.openai import openai_message, read, write
from steps.engines.template.render import prompt_and_reference


def ingested(row: Row) -> Row:
    """The row as ingest reads it from a file: calls with their keys in one order."""
    (draft,) = read(write(row), AS_USUAL).drafts
    return {**row, "messages": draft.messages, "tools": draft.tools}


def request_of(row: Row) -> Row | None:
    """The row's last answered question as a request of OpenAI's client; None where a request can't say it."""
    if row["kind"] != "conversation" or THINK_TAG in json.loads(row["meta"] or "{}"):
        return None
    messages = [{k: v for k, v in openai_message(m).items() if k != "weight"} for m in row["messages"]]
    last = max((i for i, m in enumerate(messages) if m["role"] == "assistant"), default=0)
    if not last or messages[last - 1]["role"] not in ("user", "tool") or row["messages"][last].get("weight") == 0:
        return None
    tools = {"tools": json.loads(row["tools"])} if row["tools"] else {}
    return read_request(json.dumps({"model": "m", "messages": messages[:last], **tools}).encode()).row


def differing(found: list[Cell]) -> tuple[list[Cell], int]:
    """The cells whose prompts differ, and how many were looked at."""
    wrong, compared = [], 0
    for cell in found:
        asked = request_of(cell.said)
        if asked is None or not cell.outcome().sequences:
            continue
        _, template = in_force(FAMILIES[cell.family], cell.thinking, cell.system)
        compared += 1
        if prompt_and_reference(asked, template)[0] != prompt_and_reference(ingested(cell.said), template)[0]:
            wrong.append(cell)
    return wrong, compared


def test_a_conversation_of_each_family_is_asked_as_it_was_evaluated() -> None:
    wrong, compared = differing([Cell(family, "multi-turn") for family in FAMILIES])
    assert not wrong and compared == len(FAMILIES)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_cell_is_asked_as_it_was_evaluated(family) -> None:
    wrong, compared = differing([c for c in cells() if c.family == family])
    assert not wrong and compared > 40
