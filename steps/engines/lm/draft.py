"""What answers may say next: a model reads several tokens at once and takes those that it would have said itself
(speculative decoding, Leviathan et al. 2023, arXiv:2211.17192). No second model drafts them, but texts that the answer
may follow, and what stood behind the same two tokens before: in the prompt, or in a loop of the answer itself.
"""

from collections.abc import Callable, Sequence

# Chosen: after a token that isn't the text's own the text goes on behind the same token, if one is so near.
_NEAR = 16
# Chosen: so many tokens in a row must have been foreseen, before more are drafted.
_SURE = 4


class Draft:
    """One answer's. `texts`: what it may be; `said`: what it says already."""

    def __init__(self, prompt: Sequence[int], texts: Sequence[Sequence[int]] = (), said: Sequence[int] = ()) -> None:
        self._texts = [_Text(kind, text) for kind, text in enumerate(texts)]
        self._whole: list[int] = []
        self._behind: dict[tuple[int, int], int] = {}
        # Tokens in a row that the earlier place has foreseen.
        self._foreseen = 0
        self._followed: _Text | None = None
        for token in prompt:
            self._place(token)
        for token in said:
            self.hear(token)

    def _place(self, token: int) -> None:
        """One more token of the whole."""
        if len(self._whole) > 1:
            self._behind[self._whole[-2], self._whole[-1]] = len(self._whole)
        self._whole.append(token)

    @property
    def _source(self) -> int | None:
        """Where the next token stood before."""
        return self._behind.get((self._whole[-2], self._whole[-1])) if len(self._whole) > 1 else None

    def hear(self, token: int) -> None:
        """The answer's next token."""
        for text in self._texts:
            text.hear(token)
        source = self._source
        self._foreseen = self._foreseen + 1 if source is not None and self._whole[source] == token else 0
        self._place(token)

    def ahead(self, most: int, hopes: Callable[[int], bool] = lambda kind: True) -> list[int]:
        """What the answer may say next, in at most so many tokens. `hopes`: whether by the text at this place even if
        it has foreseen nothing yet, until it was tried (`tried`) in vain.
        """
        left = [t for t in self._texts if t.ahead(1) and (t.foreseen >= _SURE or (t.hoped and hopes(t.kind)))]
        self._followed = max(left, key=lambda text: text.foreseen, default=None)
        if self._followed is not None:
            return self._followed.ahead(most)
        source = self._source
        if self._foreseen < _SURE or source is None:
            return []
        most = min(most, 2 * self._foreseen)
        drafted = self._whole[source : source + most]
        # In a loop it goes on with itself.
        return [drafted[n % len(drafted)] for n in range(most)]

    def tried(self, taken: int) -> int | None:
        """So many tokens of what was ahead last were the answer's; of which text they were, None: of none."""
        if self._followed is None:
            return None
        self._followed.hoped = self._followed.hoped and taken > 0
        return self._followed.kind


class _Text:
    """A text beside an answer. `kind`: its place among the texts; `foreseen`: tokens in a row that were its own;
    `hoped`: nothing speaks against it.
    """

    def __init__(self, kind: int, tokens: Sequence[int]) -> None:
        self.kind, self._tokens, self._at = kind, tokens, 0
        self.foreseen, self.hoped = 0, True

    def hear(self, token: int) -> None:
        near = self._tokens[self._at : self._at + _NEAR]
        self.foreseen = self.foreseen + 1 if near[:1] == [token] else 0
        self._at += 1 + (near.index(token) if token in near else 0)

    def ahead(self, most: int) -> list[int]:
        return list(self._tokens[self._at : self._at + most])
