"""Conversations by chance: the orders of messages that occur, in texts that tokenizers and templates stumble over."""

import json
import random

from support.families.rows import TOOL

from steps.contracts.records import Row, make_row, message
from steps.contracts.thinking import THINK_TAG

_WORDS = ["rain", "sun", "Oslo", "7", "é", "e\u0301", "雨", "🙂", "<b>", "{x}", "{{ y }}", "{% z %}", "'q'", '"z"',
          "\\n", "a-b", "#", "```", "$1", "<think>", "don't", "[INST]", "user", "assistant", "\t"]  # fmt: skip
_BLANKS = ["", "", "", "", " ", "\n", "  \n", "\t"]


def conversation(number: int) -> Row:
    """The conversation of this number: always the same one."""
    chance = random.Random(number)
    messages: list[Row] = []
    if chance.random() < 0.3:
        messages.append(message("system", _text(chance)))
    if chance.random() < 0.1:
        messages.append(message("assistant", _text(chance)))
    for _ in range(chance.randrange(1, 4)):
        messages += [message("user", _text(chance)), *_answered(chance)]
        if chance.random() < 0.05:
            messages.append(message("system", _text(chance)))
    called = any(m["tool_calls"] for m in messages)
    tools = json.dumps([TOOL]) if called and chance.random() < 0.8 else None
    meta = {THINK_TAG: "think"} if chance.random() < 0.3 else {}
    return make_row(
        kind="conversation", source="chance", locator=str(number), raw=b"", messages=messages, tools=tools, meta=meta
    )


def _text(chance: random.Random) -> str:
    """Some words behind a number that no other text has, sometimes between blanks."""
    words = [str(chance.randrange(10**9)), *(chance.choice(_WORDS) for _ in range(chance.randrange(8)))]
    return chance.choice(_BLANKS) + " ".join(words) + chance.choice(_BLANKS)


def _answered(chance: random.Random) -> list[Row]:
    """What follows a question: an answer, a blank one, or calls with their results and, mostly, an answer."""
    weight = chance.choice([None] * 6 + [0, 1])
    reasoning = _text(chance).strip() if chance.random() < 0.25 else None
    kind = chance.random()
    if kind < 0.06:
        return [message("assistant", chance.choice(["", " ", "\n"]), weight=weight)]
    if kind < 0.65:
        return [message("assistant", _text(chance), weight=weight, reasoning=reasoning)]
    calls = [_call(chance) for _ in range(chance.choice([1, 1, 1, 2]))]
    content = _text(chance) if chance.random() < 0.2 else ""
    turn = message("assistant", content, tool_calls=json.dumps(calls), weight=weight, reasoning=reasoning)
    if chance.random() < 0.1:
        return [turn]
    results = [message("tool", _text(chance), name="get_weather", tool_call_id=c["id"]) for c in calls]
    return [turn, *results, message("assistant", _text(chance), weight=weight)]


def _call(chance: random.Random) -> dict[str, object]:
    arguments = chance.choice([{"city": _text(chance)}, {"city": _text(chance), "days": chance.randrange(9)}, {}])
    text = json.dumps(arguments, ensure_ascii=chance.random() < 0.5)
    id = f"call_{chance.randrange(10**12):012d}"
    return {"id": id, "type": "function", "function": {"name": "get_weather", "arguments": text}}
