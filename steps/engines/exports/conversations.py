"""Rows of a dataset as programs are asked them that take messages: up to the turn that is to be answered."""

import json
from typing import Any

from steps.contracts.records import Row
from steps.engines.formats.openai import openai_message
from steps.engines.template.render import asked_turn, stored_messages


def openai_request(row: Row) -> dict[str, Any]:
    """`messages`, and `tools` where the row has any, in OpenAI's form."""
    messages = [openai_message(m) for m in stored_messages(row)[: asked_turn(row)]]
    for message in messages:
        message.pop("weight", None)
    return {"messages": messages, **({"tools": json.loads(row["tools"])} if row["tools"] else {})}


def served_row(row: Row) -> dict[str, Any]:
    """The same as MLflow's format takes it: calls and tools as JSON texts."""
    asked = openai_request(row)
    for message in asked["messages"]:
        if "tool_calls" in message:
            message["tool_calls"] = json.dumps(message["tool_calls"], ensure_ascii=False)
    return {**asked, "tools": row["tools"] or None}
