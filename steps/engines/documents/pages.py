"""What a document says: its text, by pages where it has them; or why it can't be read."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Page:
    """One page, numbered from 1. `picture`: it has no text that can be read, but something is drawn on it."""

    number: int
    text: str
    picture: bool = False


class Unreadable(Exception):
    """A document can't be read: the reason's code, and a hint that says what it is and the way out."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason, hint)
        self.reason, self.hint = reason, hint
