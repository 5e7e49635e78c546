"""Word n-grams (shingles) as 64-bit hashes, a batch of texts at a time."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Offsets = npt.NDArray[np.int64]

# Chosen: about 100 MB of cached word hashes at most; longer words (base64, hex dumps) are hashed each time.
_VOCABULARY_WORDS = 500_000
_CACHED_WORD_CHARS = 40

# Chosen: a handful of arrays of 4 MB at a time (one longer text is still worked on whole).
_BATCH_TOKENS = 500_000

# Odd multiplier of the window polynomial (2**64 / golden ratio), and the finalizer of SplitMix64
# (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators", fig. 17).
_BASE = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True)
class Ragged:
    """Hashes of n texts one after another; text i has values[offsets[i]:offsets[i + 1]]. offsets: shape (n + 1,)."""

    values: Hashes
    offsets: Offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> Hashes:
        return self.values[self.offsets[i] : self.offsets[i + 1]]


class WordHashes(dict[str, int]):
    """64-bit BLAKE2b hash per word, the same on every machine; a cache of bounded size."""

    def __missing__(self, word: str) -> int:
        raw = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        value = int.from_bytes(raw, "little")
        if len(word) <= _CACHED_WORD_CHARS:
            if len(self) >= _VOCABULARY_WORDS:
                self.clear()
            self[word] = value
        return value

    def of(self, texts: Sequence[Sequence[str]]) -> Ragged:
        """Word hashes of tokenised texts."""
        counts = np.fromiter(map(len, texts), np.int64, len(texts))
        values = np.fromiter(map(self.__getitem__, chain.from_iterable(texts)), np.uint64, int(counts.sum()))
        return Ragged(values, _offsets(counts))


def shingles(tokens: Ragged, n: int, salt: int = 0) -> Ragged:
    """Hash of every run of n tokens, in order, repeats included.

    A text of 1 to n - 1 tokens has one shingle, of all its tokens; an empty one has none. Different salts give
    unrelated hashes. Two different shingles collide with probability 2**-64.
    """
    lengths = np.diff(tokens.offsets)
    counts = np.where(lengths >= n, lengths - n + 1, (lengths > 0).astype(np.int64))
    offsets = _offsets(counts)
    out = np.zeros(int(offsets[-1]), np.uint64)
    row = np.repeat(np.arange(len(lengths)), counts)
    start = tokens.offsets[row] + np.arange(len(out)) - offsets[row]
    end = tokens.offsets[row + 1] if len(row) else start
    for j in range(n):
        at = start + j
        inside = at < end
        out = np.where(inside, out * _BASE + tokens.values[np.minimum(at, len(tokens.values) - 1)], out)
    # The number of tokens and the salt enter too, so that a short text never equals a part of a longer one.
    tokens_in = np.minimum(lengths, n)[row].astype(np.uint64)
    return Ragged(_mixed(out ^ _mixed(tokens_in + np.uint64(salt << 32))), offsets)


def shingles_of(texts: Sequence[Sequence[str]], hashes: WordHashes, n: int, salt: int = 0) -> Iterator[Hashes]:
    """Shingles of each tokenised text, in order, repeats included; about _BATCH_TOKENS tokens at a time."""
    start = tokens = 0
    for i, text in enumerate(texts):
        tokens += len(text)
        if tokens >= _BATCH_TOKENS or i == len(texts) - 1:
            ragged = shingles(hashes.of(texts[start : i + 1]), n, salt)
            yield from (ragged[k] for k in range(len(ragged)))
            start, tokens = i + 1, 0


def distinct(hashes: Hashes) -> Hashes:
    """Sorted, without repeats."""
    out = np.sort(hashes)
    return out[np.concatenate(([True], out[1:] != out[:-1]))] if len(out) else out


def _mixed(x: Hashes) -> Hashes:
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    return x ^ (x >> np.uint64(31))


def _offsets(counts: npt.NDArray[np.int64]) -> Offsets:
    out = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=out[1:])
    return out
