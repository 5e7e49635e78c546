"""The frame that keeps a row's text from being read as part of the rubric."""

from typing import Any

from steps.contracts.digests import text_digest
from steps.engines.llm.framing import in_json
from steps.engines.rubric.case import Case


def framed(case: Case) -> str:
    """The row as the judge sees it: one JSON line between two markers."""
    return between_markers(content_of(case), "Rate row {marker}.")


def between_markers(content: dict[str, Any], request: str) -> str:
    """Any content as one JSON line between two markers, and what is asked about it (`{marker}` names it).

    Nothing in the content can leave the frame: JSON escapes every line break, so that no text of the row can start a
    line, control tokens are escaped, and the marker holds a digest of the line itself, which the line can't contain.
    """
    line = in_json(content)
    marker = text_digest(line)[:16]
    asks = request.format(marker=marker)
    return f"=== row {marker} begins ===\n{line}\n=== row {marker} ends ===\n{asks}"


def message_of(message: dict[str, Any]) -> dict[str, str]:
    """What a judge is shown of a message."""
    fields = ("role", "name", "content", "tool_calls", "tool_call_id")
    return {f: message[f] for f in fields if message.get(f) or f in ("role", "content")}


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
