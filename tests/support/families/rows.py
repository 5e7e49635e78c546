"""Rows of every kind that the template tests try, and what each of them says.

Every content, argument, name and thought is a text of its own, so that a rendering can be asked for each.
"""

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from steps.contracts.records import Row, make_row, message
from steps.contracts.thinking import THINK_TAG

ASK, ANSWER = "What is the weather in Oslo?", "It is light rain."
ASK_MORE, ANSWER_MORE = "And how warm is it there?", "About seven degrees."
SYSTEM = "Answer in one short sentence."
THOUGHT, THOUGHT_MORE = "Oslo lies in Norway, so I recall its climate.", "Early spring there means single digits."
CALL_ID, LONG_CALL_ID = "a1B2c3D4e", "call_a1B2c3D4e5F6"
JSON_RESULT = '{"sky": "light \\"rain\\"", "celsius": 7}'
RESULT = "light rain, seven degrees"
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "The city's name."}},
            "required": ["city"],
        },
    },
}


@dataclass(frozen=True)
class Fact:
    """Something that a row says: what it is, in words, and its text; `at` is its message's place in the row."""

    what: str
    text: str
    at: float


def call(city: str = "Bergen", id: str = CALL_ID) -> dict[str, Any]:
    """One tool call as OpenAI writes it: its arguments are JSON text."""
    arguments = json.dumps({"city": city})
    return {"id": id, "type": "function", "function": {"name": "get_weather", "arguments": arguments}}


def _calls(*calls: dict[str, Any], content: str = "", **fields: Any) -> Row:
    return message("assistant", content, tool_calls=json.dumps(calls), **fields)


def _row(name: str, *messages: Row, tools: bool = False, **fields: Any) -> Row:
    kind = {"kind": "conversation", "messages": list(messages)}
    if tools:
        kind["tools"] = json.dumps([TOOL], sort_keys=True)  # as ingest writes them
    return make_row(source="families", locator=name, raw=name.encode(), **{**kind, **fields})


def _exchange(*calls: dict[str, Any], content: str = "", **fields: Any) -> tuple[Row, ...]:
    """A question, calls, a result per call and the answer."""
    results = [message("tool", RESULT, name="get_weather", tool_call_id=c["id"]) for c in calls]
    return message("user", ASK), _calls(*calls, content=content, **fields), *results, message("assistant", ANSWER)


_FIRST = (message("user", ASK), message("assistant", ANSWER))
_SECOND = (message("user", ASK_MORE), message("assistant", ANSWER_MORE))
_THINKING = (message("user", ASK), message("assistant", ANSWER, reasoning=THOUGHT))
_THINKING_MORE = (message("user", ASK_MORE), message("assistant", ANSWER_MORE, reasoning=THOUGHT_MORE))
_TAGGED = {THINK_TAG: "think"}

ROWS: Mapping[str, Row] = {
    row["locator"]: row
    for row in (
        _row("single turn", *_FIRST),
        _row("multi-turn", *_FIRST, *_SECOND),
        _row("system", message("system", SYSTEM), *_FIRST),
        _row("system, multi-turn", message("system", SYSTEM), *_FIRST, *_SECOND),
        _row("system in the middle", *_FIRST, message("system", SYSTEM), *_SECOND),
        _row("tools", *_exchange(call()), tools=True),
        _row("tools, system", message("system", SYSTEM), *_exchange(call()), tools=True),
        _row("tools, system, multi-turn", message("system", SYSTEM), *_exchange(call()), *_SECOND, tools=True),
        _row("tools, ends in a call", message("user", ASK), _calls(call()), tools=True),
        _row("tools, two calls in a turn", *_exchange(call(), call("Tromsø", "f5G6h7I8j")), tools=True),
        _row("tools, id of OpenAI's", *_exchange(call(id=LONG_CALL_ID)), tools=True),
        _row("tools, none called", *_FIRST, tools=True),
        _row("call without definitions", *_exchange(call())),
        _row("text beside a call", *_exchange(call(), content="Let me look that up."), tools=True),
        _row("reasoning", *_THINKING),
        _row("reasoning in tags", *_THINKING, meta=_TAGGED),
        _row("reasoning, multi-turn", *_THINKING, *_THINKING_MORE),
        _row("reasoning before a call", *_exchange(call(), reasoning=THOUGHT), tools=True),
        _row("assistant first", message("assistant", "Good morning, how can I help?"), *_FIRST),
        _row("system, assistant first", message("system", SYSTEM), message("assistant", "Good morning!"), *_FIRST),
        _row("blank turn", message("user", ASK), message("assistant", ""), *_SECOND),
        _row("weight 0", message("user", ASK), message("assistant", ANSWER, weight=0), *_SECOND),
        _row("blanks around", message("user", f"\n  {ASK}\n"), message("assistant", f"  {ANSWER}\n\n"), *_SECOND),
        _row("other scripts", message("user", "Cafe\u0301 🙂 в Осло?"), message("assistant", "雨と 7 °C, déjà vu ✓")),
        _row(
            "JSON in a result",
            message("user", ASK),
            _calls(call()),
            message("tool", JSON_RESULT, tool_call_id=CALL_ID),
            message("assistant", ANSWER),
            tools=True,
        ),
        _row(
            "preference",
            message("user", ASK),
            kind="preference",
            chosen=[message("assistant", ANSWER)],
            rejected=[message("assistant", "No idea.")],
        ),
        _row("document", kind="document", text="Oslo is the capital of Norway.\nIt rains there."),
    )
}


def said(row: Row) -> list[Row]:
    """The messages that are trained or stand before those: of a preference the prompt and the chosen answer."""
    return [*row["messages"], *row["chosen"]]


def facts(row: Row) -> list[Fact]:
    """What the row says, message by message; what its tools are belongs to no message (-1)."""
    tools = [t["function"] for t in json.loads(row["tools"] or "[]")]
    found = [Fact(f"a tool's {key}", t[key], -1) for t in tools for key in ("name", "description")]
    for i, m in enumerate(said(row)):
        found += [Fact(f"the {m['role']}'s content", m["content"].strip(), i)] if m["content"].strip() else []
        found += [Fact("reasoning", m["reasoning"], i)] if m["reasoning"] else []
        for c in json.loads(m["tool_calls"] or "[]"):
            found.append(Fact("a call's name", c["function"]["name"], i))
            values = json.loads(c["function"]["arguments"]).values()
            found += [Fact("a call's argument", str(v), i) for v in values]
    return found


def said_in(fact: Fact, text: str) -> bool:
    """Whether the text has the fact, as it is or inside a JSON string; in Unicode's composed form, as some tokenizers
    write it."""
    forms = (fact.text, json.dumps(fact.text)[1:-1], json.dumps(fact.text, ensure_ascii=False)[1:-1])
    return any(unicodedata.normalize("NFC", form) in unicodedata.normalize("NFC", text) for form in forms)
