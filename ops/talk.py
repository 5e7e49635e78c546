"""Conversations with models that answer here: each has its own, and is asked the same."""

import queue
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ops.serving.desk import Answers, End, NoRoomError, Question, Told
from ops.serving.requests import asked_row
from steps.contracts.errors import InputError
from steps.engines.lm.transcript import Piece


@dataclass(frozen=True)
class Manner:
    """How models are asked. `system`: "": no instructions; `most`: tokens of an answer."""

    system: str = ""
    temperature: float = 0.0
    seed: int | None = None
    most: int = 1024


@dataclass
class Talk:
    """What one model was asked and has answered, as OpenAI's messages."""

    name: str
    desk: Answers
    manner: Manner
    said: list[dict[str, Any]] = field(default_factory=list)

    def reset(self) -> None:
        """Begin anew."""
        self.said.clear()

    def ask(self, prompt: str, hear: Callable[[Piece], None]) -> End:
        """The answer, which is then a part of the conversation; `hear` is told of it piece by piece.

        An answer that is interrupted leaves the conversation as it was, as does one that fails.

        Raises:
            InputError: this can't be asked. Whatever an answer ends with.
        """
        told: queue.SimpleQueue[Told] = queue.SimpleQueue()
        asked = {"role": "user", "content": prompt}
        first = [{"role": "system", "content": self.manner.system}] if self.manner.system else []
        question = Question(
            self.name, asked_row([*first, *self.said, asked]), self.manner.most, temperature=self.manner.temperature,
            seed=self.manner.seed, pieces=True,
        )  # fmt: skip
        try:
            job = self.desk.ask(question, told.put)
        except NoRoomError as e:
            raise InputError(str(e), hint="/reset begins anew") from e
        try:
            while isinstance(found := told.get(), Piece):
                hear(found)
        finally:
            job.gone.set()
        if isinstance(found, Exception):
            raise found
        if found.text:
            thought = {"reasoning_content": found.reasoning} if found.reasoning else {}
            self.said += [asked, {"role": "assistant", "content": found.text, **thought}]
        return found


def as_json(end: End) -> Mapping[str, Any]:
    """An answer for a program."""
    return {
        "text": end.text, "reasoning": end.reasoning, "finish_reason": "length" if end.cut else "stop",
        "prompt_tokens": end.prompt, "completion_tokens": end.completion,
    }  # fmt: skip
