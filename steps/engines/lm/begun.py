"""Answers that the loss of a known text has begun: it reads the prompt and what should be said, and so tells the greedy
answer as far as that is what should be said, and one token more. Nothing of it need be decoded, and the keys and values
of what was read need not be computed again.

The tokens are the model's own, not the text's: after a token that isn't the most probable one nothing more is taken.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from steps.engines.lm.asked import Begun, States
from steps.engines.lm.decoding import DecodingConfig
from steps.engines.lm.load import LoadedModel

if TYPE_CHECKING:
    from transformers.cache_utils import Cache

# Chosen: keys and values that wait for their answers take at most so many bytes, of the CPU's memory alone.
HELD_BYTES = 2**29


class BegunAnswers:
    """What losses told of answers, by prompt. `ends`: tokens that end an answer."""

    def __init__(self, loaded: LoadedModel, ends: Sequence[int], held_bytes: int = HELD_BYTES) -> None:
        from steps.engines.lm.states import decodable

        self.holds = loaded.device == "cpu" and decodable(loaded, DecodingConfig())
        self._ends, self._left = frozenset(ends), held_bytes
        self._known: dict[tuple[int, ...], Begun] = {}

    def get(self, prompt: Sequence[int]) -> Begun | None:
        """What is known of its answer."""
        return self._known.get(tuple(prompt))

    def add(self, ids: list[int], start: int, best: Sequence[int], cache: "Cache | None", row: int) -> None:
        """Take what was read of a text from which the answer begins at `start`.

        Args:
            best: the most probable token in place of ids[start], ids[start + 1] and so on.
            cache: keys and values of a batch whose `row` begins with the text.
        """
        right = next((n for n, token in enumerate(best) if token != ids[start + n]), len(best))
        tokens = list(best[: right + 1])
        end = next((n for n, token in enumerate(tokens) if token in self._ends), None)
        if end is not None:
            self._known[tuple(ids[:start])] = Begun(tokens[:end], ended=True)
            return
        self._known[tuple(ids[:start])] = Begun(tokens, states=self._held(cache, row, start + len(tokens) - 1))

    def _held(self, cache: "Cache | None", row: int, columns: int) -> States:
        if cache is None:
            return ()
        parts = [(layer.keys[row, :, :columns], layer.values[row, :, :columns]) for layer in cache.layers]  # type: ignore[index]
        size = sum(part.numel() * part.element_size() for pair in parts for part in pair)
        if size > self._left:
            return ()
        self._left -= size
        return tuple((keys.clone(), values.clone()) for keys, values in parts)
