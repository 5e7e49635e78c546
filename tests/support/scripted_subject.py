"""A subject that answers by a script: what it says to each question is known."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from steps.contracts.records import Row
from steps.engines.subjects.subject import Asked, Prompt, Replies


class Scripted:
    def __init__(self, name: str, script: Callable[[str], str]) -> None:
        self.name, self.digest, self._script = name, f"digest of {name}", script
        self.decoding: Mapping[str, Any] = {"script": True}
        self.rooms: list[int | None] = []

    def prompts(self, rows: Sequence[Row]) -> Asked:
        turns = [[m["content"] for m in row["messages"]] for row in rows]
        return Asked([Prompt(of[-2], of[-1]) if of else None for of in turns])

    def answer(self, prompts: Sequence[Prompt], max_new_tokens: int | None) -> Replies:
        self.rooms.append(max_new_tokens)
        return Replies([self._script(p.text) for p in prompts], max_new_tokens or 64)
