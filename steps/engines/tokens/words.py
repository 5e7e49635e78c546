"""A table of words and their token ids, which the tokenizer itself fills."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from steps.engines.tokens import kernel
from steps.engines.tokens.tokens import MisspeltError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
Number = TypeVar("Number", bound=np.generic)

# Chosen: some 100 MB; what is met after that starts a new table.
_MOST_WORDS, _MOST_BYTES = 1 << 20, 1 << 26
_FIRST_SLOTS = 1 << 15


class WordTable:
    """Words as UTF-8, each with its tokens. `trims`: tokens begin after their leading spaces, end before trailing ones.

    The arrays are those that `kernel.split` and `kernel.emit` take.
    """

    def __init__(self, backend: "Tokenizer", *, trims: bool) -> None:
        from tokenizers import Tokenizer, pre_tokenizers

        # The same model on words as they are: without special tokens, normalizer and regular expression.
        self._model = Tokenizer(backend.model)
        self._model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        self._bytes = _TokenBytes(self._model)
        self._trims = trims
        self._clear()

    def _clear(self) -> None:
        self.count = 0
        self.table = np.full(_FIRST_SLOTS, -1, np.int32)
        self.hashes = np.zeros(_FIRST_SLOTS, np.uint64)
        self.offsets = np.zeros(_FIRST_SLOTS + 1, np.int64)
        self.pool = np.zeros(1 << 18, np.uint8)
        self.token_offsets = np.zeros(_FIRST_SLOTS + 1, np.int64)
        self.ids, self.starts, self.ends, self.edges = (np.zeros(1 << 17, np.int32) for _ in range(4))

    def make_room(self) -> None:
        """Start anew when the table is too large. Numbers of words that were given out hold until then."""
        if self.count > _MOST_WORDS or self.offsets[self.count] > _MOST_BYTES:
            self._clear()

    def add(self, words: Sequence[bytes]) -> Int32s:
        """Add distinct words that aren't in the table; returns their numbers.

        Raises:
            MisspeltError: the tokenizer's tokens don't spell a word.
        """
        found = self._tokens(words)
        first, self.count = self.count, self.count + len(words)
        self._append_words(first, words)
        a, b = int(self.token_offsets[first]), int(self.token_offsets[first]) + len(found.ids)
        self.token_offsets = _room(self.token_offsets, self.count + 1)
        self.token_offsets[first + 1 : self.count + 1] = a + np.cumsum(found.lengths)
        self.ids, self.starts = _room(self.ids, b), _room(self.starts, b)
        self.ends, self.edges = _room(self.ends, b), _room(self.edges, b)
        self.ids[a:b], self.starts[a:b], self.ends[a:b], self.edges[a:b] = found.places
        return np.arange(first, self.count, dtype=np.int32)

    def _append_words(self, first: int, words: Sequence[bytes]) -> None:
        text = b"".join(words)
        a = int(self.offsets[first])
        self.offsets, self.hashes = _room(self.offsets, self.count + 1), _room(self.hashes, self.count)
        self.offsets[first + 1 : self.count + 1] = a + np.cumsum([len(w) for w in words])
        self.pool = _room(self.pool, a + len(text))
        self.pool[a : a + len(text)] = np.frombuffer(text, np.uint8)
        if 2 * self.count > len(self.table):  # a power of two that stays half empty
            self.table = np.full(1 << (4 * self.count - 1).bit_length(), -1, np.int32)
            first = 0
        kernel.insert(first, self.count, self.table, self.hashes, self.offsets, self.pool)

    def _tokens(self, words: Sequence[bytes]) -> "_Found":
        found = self._model.encode([w.decode() for w in words], is_pretokenized=True, add_special_tokens=False)
        spelt = [self._bytes[i] for i in found.ids]
        if b"".join(spelt) != b"".join(words):
            raise MisspeltError
        lengths = np.bincount(np.array(found.word_ids, np.int64), minlength=len(words))
        edges = np.cumsum([len(s) for s in spelt])
        begun = np.repeat(np.cumsum([0, *(len(w) for w in words[:-1])]), lengths)
        starts, ends = np.concatenate([[0], edges[:-1]]) - begun, edges - begun
        edges = ends
        if self._trims:
            starts = np.minimum(starts + [len(s) - len(s.lstrip(b" ")) for s in spelt], edges)
            ends = np.maximum(edges - [len(s) - len(s.rstrip(b" ")) for s in spelt], starts)
        return _Found(lengths, np.array(found.ids), starts, ends, edges)


@dataclass(frozen=True, eq=False)
class _Found:
    """Tokens of some words, one word's after the other's, with their places in bytes of the word.

    `lengths` says how many each word has, shape (words,); the others have the shape (tokens,).
    """

    lengths: Int64s
    ids: Int64s
    starts: Int64s
    ends: Int64s
    edges: Int64s

    @property
    def places(self) -> tuple[Int64s, Int64s, Int64s, Int64s]:
        return self.ids, self.starts, self.ends, self.edges


class _TokenBytes(dict[int, bytes]):
    """What each token of a byte-level vocabulary spells, of those that were asked for; tokens of other letters spell
    nothing.
    """

    def __init__(self, model: "Tokenizer") -> None:
        from tokenizers.pre_tokenizers import ByteLevel

        super().__init__()
        self._token, self._letters = model.id_to_token, _letters()
        assert set(self._letters) == set(ByteLevel.alphabet())

    def __missing__(self, number: int) -> bytes:
        try:
            spelt = bytes(self._letters[c] for c in self._token(number) or "")
        except KeyError:
            spelt = b""
        self[number] = spelt
        return spelt


def _letters() -> dict[str, int]:
    """The byte that each letter of byte-level BPE stands for (Radford et al. 2019)."""
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in set(printed)]
    return {chr(b): b for b in printed} | {chr(256 + n): b for n, b in enumerate(others)}


def _room(array: npt.NDArray[Number], size: int) -> npt.NDArray[Number]:
    """The array, or a larger one with its values."""
    if size <= len(array):
        return array
    larger = np.zeros(max(size, 2 * len(array)), array.dtype)
    larger[: len(array)] = array
    return larger
