"""A scripted model over HTTP that rewrites and answers questions as it is told."""

import json
from typing import Any

from engines.llm.scripted_server import Act, completion
from support.following_writer import value_of

THOUGHT = "It is asked for that, so I think about it."


class Rewriter:
    """The script. `fixed`: it writes one question whatever it is asked; `bends`: paraphrases ask something else."""

    def __init__(self, fixed: bool = False, bends: bool = False) -> None:
        self.fixed, self.bends = fixed, bends
        self.answered: list[list[dict[str, str]]] = []

    def __call__(self, number: int, body: dict[str, Any]) -> Act:
        orders = body["messages"][0]["content"]
        if "response_format" not in body:
            self.answered.append(body["messages"])
            said = body["messages"][-1]["content"]
            return completion(f"Taught: {said}", reasoning_content=THOUGHT)
        value = value_of(body)
        if orders.startswith("You compare"):
            return completion(json.dumps({"same": "other thing" not in value["second"]}))
        return completion(json.dumps({"questions": self._questions(orders, value, number)}))

    def _questions(self, orders: str, value: Any, number: int) -> list[str]:
        if "beside them" in orders:
            return [f"New subject {number} with matter {i} of its own kind {number * i}?" for i in range(2)]
        asked = value["question"]
        tail = "about the other thing" if self.bends else "kindly explained in short words"
        for mark, said in (
            ("", ["Tell me more about it please?"] if self.fixed else []),
            ("other ways", [f"Could somebody say, {asked.lower()} {tail} {i}" for i in range(2)]),
            ("into German", [f"auf Deutsch: {asked}"]),
            ("the language of", [f"back again from German, put newly and at length: {asked.split(': ')[-1]}"]),
            ("form of answer", [f"As a table with two columns, please: {asked}"]),
            ("harder", [f"Harder by one step of thought, and quite unlike what was there: {asked}"]),
            ("this person", [f"Said by a pilot in her own words, and quite unlike what was there: {asked}"]),
        ):
            if said and mark in orders:
                return said
        raise AssertionError(f"unknown orders: {orders[:80]}")
