"""A scripted model over HTTP that does as it is told: it reads the orders, and answers by what the frame holds.

Documents say facts as "The river of Oslo is riverine." It writes one pair per fact, and plants what tests count.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from engines.llm.scripted_server import Act, completion

FACT = re.compile(r"The (\w+) of (\w+) is (\w+)\.")
# What it adds to answers about these things: a claim that no document makes.
PLANTED = " It was finished in 1931."


def value_of(body: dict[str, Any]) -> Any:
    """The JSON in the frame, which stands in one line between the markers."""
    lines = body["messages"][-1]["content"].split("\n")
    assert lines[0].startswith("=== ") and lines[2].startswith("=== ") and len(lines) == 4, "the frame was left"
    return json.loads(lines[1])


def following(
    plant: Callable[[str, str], bool] = lambda what, place: False,
    known: Callable[[str, str], bool] = lambda what, place: False,
    lies: bool | str = False,
    planted: str = PLANTED,
) -> Callable[[int, dict[str, Any]], Act]:
    """The script. `plant`: whether the answer about this gets a claim that isn't there; `known`: whether the model
    knows it without the document; `lies`: as checker it calls everything supported, by words that aren't there or by
    these; `planted`: the claim.
    """

    def script(_: int, body: dict[str, Any]) -> Act:
        orders, value = body["messages"][0]["content"], value_of(body)
        for mark, answer in (
            ("You write questions", lambda: {"pairs": _written(orders, value, plant, planted)}),
            ("You check an answer", lambda: {"claims": _claims(value, lies)}),
            ("You answer a question", lambda: {"answer": _read(value, known)}),
            ("You compare two answers", lambda: {"agrees": {*_found(value["second"])} >= {*_found(value["first"])}}),
            ("You look at the answer", lambda: {"declines": "isn't stated" in value["answer"]}),
        ):
            if orders.startswith(mark):
                return completion(json.dumps(answer()))
        raise AssertionError(f"unknown orders: {orders[:80]}")

    return script


def _found(text: str) -> list[tuple[str, str, str]]:
    return FACT.findall(text)


def _written(
    orders: str, passages: list[dict[str, Any]], plant: Callable[[str, str], bool], planted: str
) -> list[dict[str, str]]:
    facts = [_found(p["text"]) for p in passages]
    if "two passages" in orders:
        if not all(facts):
            return []
        (a, b, c), (x, y, z) = facts[0][0], facts[1][0]
        return [{"question": f"What are the {a} of {b} and the {x} of {y}?",
                 "answer": f"The {a} of {b} is {c}. The {x} of {y} is {z}."}]  # fmt: skip
    if "doesn't state" in orders and facts[0]:
        return [{"question": f"What is the age of {facts[0][0][1]}?", "answer": "That isn't stated in the document."}]
    if "Ask where" in orders and facts[0]:
        return [{"question": f"Where can I read about {facts[0][0][1]}?", "answer": f"Here: {passages[0]['url']}."}]
    if "Ask for facts" not in orders:
        return []
    return [
        {"question": f"What is the {what} of {place}?",
         "answer": f"The {what} of {place} is {name}.{planted if plant(what, place) else ''}"}
        for what, place, name in facts[0]
    ]  # fmt: skip


def _claims(value: dict[str, Any], lies: bool | str) -> list[dict[str, Any]]:
    there = "\n".join(f"{p['text']}\n{p.get('url', '')}" for p in value["passages"])
    found = []
    for claim in re.findall(r"[^.]+(?:\.\S+)*\.", value["answer"]):
        said = claim.strip().removeprefix("Here: ").removesuffix(".") if "Here: " in claim else claim.strip()
        supported = said in there
        wrong = lies if isinstance(lies, str) else "made up" if lies else ""
        evidence = said if supported else wrong
        found.append({"claim": claim.strip(), "evidence": evidence, "supported": supported or bool(lies)})
    return found


def _read(value: dict[str, Any], known: Callable[[str, str], bool]) -> str | None:
    asked = re.findall(r"the (\w+) of (\w+)", value["question"])
    if "passages" not in value:
        wanted = [(a, b) for a, b in asked if known(a, b)]
        return " ".join(f"The {a} of {b} is {a}{b.lower()}." for a, b in wanted) or None
    facts = {(a, b): f"The {a} of {b} is {c}." for p in value["passages"] for a, b, c in _found(p["text"])}
    return " ".join(facts[pair] for pair in asked if pair in facts) or None
