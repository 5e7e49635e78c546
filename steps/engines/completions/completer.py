"""A server that goes on with token ids: what it is asked, and how its answers are heard."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Wanted:
    """One answer.

    Attributes:
        model: the server's name of what answers.
        ids: the prompt's tokens.
        room: tokens of the answer at most.
        temperature, top_p, seed: as `lm.live.Live` has them.
        piecewise: heard while it is made, else when it is whole.
    """

    model: str
    ids: Sequence[int]
    room: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    piecewise: bool = False


class Listener(Protocol):
    """Whoever asked; both methods return whether that is enough."""

    def hear(self, token: int) -> bool:
        """One more token."""
        ...

    def hear_text(self, text: str, tokens: int) -> bool:
        """What was said since, as text with special tokens, where the server doesn't tell all ids; `tokens`: of it."""
        ...


class Completer(Protocol):
    """A server."""

    def complete(self, wanted: Wanted, listener: Listener, gone: Callable[[], bool]) -> None:
        """Let one answer be heard, to its end; it is let go where `gone` says that nobody waits.

        Raises:
            ServiceError: the server refuses it, or its answer has no end.
        """
        ...
