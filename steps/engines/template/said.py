"""Whether a row's texts say what the row says: contents, tool calls, tools, reasoning."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from steps.contracts.records import Row
from steps.engines.template.render import ChatTemplate, Conversation, Turn, stored_messages

TEXT_BESIDE_CALL = "text beside a call"


def missing(row: Row, found: Conversation, template: ChatTemplate) -> tuple[str, str] | None:
    """The first thing that the row says and its texts don't, as a reason code and a place; None: all is there.

    Text beside a tool call that the template doesn't write is no such thing: it is counted in `found.left_out`.
    """
    stored, trained = stored_messages(row), {turn.message: turn for turn in found.turns}
    for place, turn in trained.items():
        reason = _missing_in_turn(stored[place], turn, found.left_out, template)
        if reason:
            return reason, f"message {place}"
    return _missing_in_context(row, stored, max(trained, default=-1), found, template)


def _missing_in_turn(m: Row, turn: Turn, left_out: Counter[str], template: ChatTemplate) -> str | None:
    said, calls = turn.completion, _calls(m)
    content = m["content"].strip()
    if not _holds(said, content):
        if not calls:
            return "content_missing"
        left_out[TEXT_BESIDE_CALL] += 1
    if not _holds_calls(said, calls):
        return "call_missing"
    reasoning = (m.get("reasoning") or "").strip()
    if reasoning and template.config.thinking == "off":
        left_out["reasoning"] += 1
    elif reasoning and not _holds(said, reasoning):
        return "reasoning_missing"
    return None


def _missing_in_context(
    row: Row, stored: list[Row], last: int, found: Conversation, template: ChatTemplate
) -> tuple[str, str] | None:
    """What stands before a trained turn must be in the text of that turn, as often as it is said."""
    if not found.texts:
        return None
    if row["tools"] and not template.dialect.writes_tools:
        return "tools_missing", ""
    if len(found.texts) == 1:
        return _missing_before(last, found.texts[0].text, stored, found, template)
    texts = ((turn.message, turn.prompt + turn.completion) for turn in found.turns)
    return next(filter(None, (_missing_before(place, text, stored, found, template) for place, text in texts)), None)


def _missing_before(
    last: int, text: str, stored: list[Row], found: Conversation, template: ChatTemplate
) -> tuple[str, str] | None:
    """What the messages before the turn at `last` say, and its text doesn't."""
    behind = 0
    for content, (n, place) in _context(stored[:last], template).items():
        # Mostly contents stand in their order.
        at = text.find(content, behind) if n == 1 else -1
        if at >= 0:
            behind = at + len(content)
        elif not _is_in(text, content, n) and not _is_in(text, _as_json(content), n):
            return ("system_missing" if stored[place]["role"] == "system" else "content_missing"), f"message {place}"
    trained = {turn.message for turn in found.turns}
    for place, m in enumerate(stored[:last]):
        if place not in trained and not _holds_calls(text, _calls(m)):
            return "call_missing", f"message {place}"
    return None


def _context(stored: list[Row], template: ChatTemplate) -> dict[str, tuple[int, int]]:
    """How often each content stands in the messages, and where it stands first."""
    found: dict[str, tuple[int, int]] = {}
    for place, m in enumerate(stored):
        content = m["content"].strip()
        gone = m["role"] == "system" and template.config.system == "drop"
        if not content or gone or m.get("tool_calls"):
            continue
        # Templates leave out the reasoning of earlier turns.
        content = content.rpartition("</think>")[2].strip() if m["role"] == "assistant" else content
        n, first = found.get(content, (0, place))
        found[content] = (n + 1, first)
    return found


def _calls(m: Row) -> list[dict[str, Any]]:
    return json.loads(m["tool_calls"]) if m.get("tool_calls") else []


def _holds_calls(text: str, calls: list[dict[str, Any]]) -> bool:
    return not calls or all(_holds(text, part) for call in calls for part in _call_parts(call))


def _call_parts(call: dict[str, Any]) -> Iterator[str]:
    """The function's name, and the keys and values of its arguments."""
    function = call.get("function", call)
    yield str(function.get("name", ""))
    arguments = function.get("arguments")
    try:
        parsed = json.loads(arguments) if isinstance(arguments, str) else arguments
    except json.JSONDecodeError:
        parsed = arguments
    yield from _leaves(parsed)


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    elif isinstance(value, str):
        yield value
    elif isinstance(value, int) and not isinstance(value, bool):
        yield str(value)


def _is_in(text: str, part: str, times: int) -> bool:
    return part in text if times == 1 else text.count(part) >= times


def _holds(text: str, part: str) -> bool:
    return part in text or _as_json(part) in text


def _as_json(part: str) -> str:
    return json.dumps(part, ensure_ascii=False)[1:-1]
