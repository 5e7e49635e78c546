"""A row in the frame that keeps its text from being read as part of the rubric (`llm/framing.py`)."""

from typing import Any

from steps.contracts.digests import text_digest
from steps.engines.llm.framing import framed as in_frame
from steps.engines.llm.framing import in_json
from steps.engines.rubric.case import Case


def framed(case: Case) -> str:
    """The row as the judge sees it: one JSON line between two markers, and what is asked about it."""
    content = content_of(case)
    return f"{in_frame(content, 'row')}Rate row {text_digest(in_json(content))[:16]}."


def content_of(case: Case) -> dict[str, Any]:
    """What a judge is shown of a row."""
    if case.kind == "document":
        return {"document": case.text}
    content: dict[str, Any] = {"conversation": [message_of(m) for m in case.messages]}
    if case.tools:
        content["tools"] = case.tools
    if case.wanted:
        content["right_answer"] = case.wanted
    return content


def message_of(message: dict[str, Any]) -> dict[str, str]:
    """What a judge is shown of a message."""
    fields = ("role", "name", "content", "tool_calls", "tool_call_id")
    return {f: message[f] for f in fields if message.get(f) or f in ("role", "content")}
