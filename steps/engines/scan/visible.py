"""Text as a human sees it: without the invisible characters that split a word for a pattern and not for a reader."""

import re
from collections.abc import Sequence

# Soft hyphen, zero-width space and joiners, direction marks, word joiner, invisible operators, byte order mark.
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]+")


class VisibleText:
    """`text` is the visible part of `original`; `place` gives offsets in the original."""

    def __init__(self, original: str) -> None:
        self.original = original
        self._at: Sequence[int] | None = None
        self.text = original
        if not original.isascii() and _INVISIBLE.search(original):
            hidden = {i for m in _INVISIBLE.finditer(original) for i in range(*m.span())}
            self._at = [i for i in range(len(original)) if i not in hidden]
            self.text = _INVISIBLE.sub("", original)

    def place(self, start: int, end: int) -> tuple[int, int]:
        """Where text[start:end] (not empty) stands in the original, hidden characters inside it included."""
        return (start, end) if self._at is None else (self._at[start], self._at[end - 1] + 1)
