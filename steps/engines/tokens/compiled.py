"""Texts split to words, and words looked up, by compiled code; the tokenizer is asked about each word once."""

import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from steps.engines.tokens import kernel
from steps.engines.tokens.recognise import ByteLevel, classes, classify, recognised
from steps.engines.tokens.tokens import Tokens
from steps.engines.tokens.words import WordTable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Bytes = npt.NDArray[np.uint8]
Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]


def compiled(tokenizer: "PreTrainedTokenizerBase") -> "Compiled | None":
    """The compiled way of a tokenizer, None where it isn't known to be the same."""
    known = recognised(tokenizer)
    return Compiled(tokenizer, known) if known else None


class Compiled:
    """The compiled way, of a tokenizer for which it is known to be the same."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", known: ByteLevel) -> None:
        backend = tokenizer.backend_tokenizer
        self._known = known
        self._words = WordTable(backend, trims=known.trims)
        self._trie = _trie({t.content.encode(): i for i, t in backend.get_added_tokens_decoder().items()})
        self._classes = classes()

    def fits(self, text: str) -> bool:
        """Whether the tokenizer would leave the text as it is before it splits it."""
        return text.isascii() or not self._known.nfc or unicodedata.is_normalized("NFC", text)

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokens of each text, all of which fit."""
        raw = [t.encode() for t in texts]
        joined = b"".join(raw)
        data = np.frombuffer(joined, np.uint8)
        bounds = np.zeros(len(raw) + 1, np.int64)
        np.cumsum([len(t) for t in raw], out=bounds[1:])
        while (page := kernel.unknown_page(data, self._classes)) >= 0:
            classify(self._classes, page)
        self._words.make_room()
        ends, numbers, counts = self._split(data, bounds)
        self._learn(joined, ends, numbers)
        return self._emit(bounds, counts, ends, numbers)

    def _split(self, data: Bytes, bounds: Int64s) -> tuple[Int64s, Int32s, Int64s]:
        ends, numbers = np.empty(len(data), np.int64), np.empty(len(data), np.int32)
        counts, w = np.empty(len(bounds), np.int64), self._words
        n = kernel.split(
            data, bounds, self._known.form, self._known.digits, self._classes, self._trie, w.table, w.hashes, w.offsets,
            w.pool, ends, numbers, counts,
        )  # fmt: skip
        return ends[:n], numbers[:n], counts

    def _learn(self, joined: bytes, ends: Int64s, numbers: Int32s) -> None:
        """Ask the tokenizer about the words that are new."""
        new = np.flatnonzero(numbers == kernel.MISSING)
        if not len(new):
            return
        begins = np.where(new > 0, ends[new - 1], 0)
        words = [joined[a:b] for a, b in zip(begins.tolist(), ends[new].tolist(), strict=True)]
        places = {w: n for n, w in enumerate(dict.fromkeys(words))}
        given = self._words.add(list(places))
        numbers[new] = given[[places[w] for w in words]]

    def _emit(self, bounds: Int64s, counts: Int64s, ends: Int64s, numbers: Int32s) -> list[Tokens]:
        w = self._words
        of_words = w.token_offsets[numbers + 1] - w.token_offsets[numbers]
        size = int(np.where(numbers <= kernel.ADDED, 1, of_words).sum())
        ids, starts, stops, edges = (np.empty(size, np.int32) for _ in range(4))
        totals = np.empty(len(bounds), np.int64)
        kernel.emit(
            bounds, counts, ends, numbers, (w.token_offsets, w.ids, w.starts, w.ends, w.edges),
            (ids, starts, stops, edges, totals),
        )  # fmt: skip
        at = totals.tolist()
        parts = (slice(a, b) for a, b in pairwise(at))
        return [Tokens(ids[p], starts[p], stops[p], edges[p], in_bytes=True, spell=True) for p in parts]


def _trie(tokens: dict[bytes, int]) -> tuple[npt.NDArray[np.bool_], Bytes, Int32s, Int32s, Int32s]:
    """The added tokens as `kernel.split` takes them."""
    firsts = np.zeros(256, bool)
    bytes_, children, siblings, ids = [0], [-1], [-1], [-1]
    for token, number in tokens.items():
        firsts[token[0]] = True
        node = 0
        for byte in token:
            child = children[node]
            while child >= 0 and bytes_[child] != byte:
                child = siblings[child]
            if child < 0:
                child = len(bytes_)
                bytes_.append(byte)
                children.append(-1)
                siblings.append(children[node])
                ids.append(-1)
                children[node] = child
            node = child
        ids[node] = number
    return (firsts, np.array(bytes_, np.uint8), np.array(children, np.int32), np.array(siblings, np.int32),
            np.array(ids, np.int32))  # fmt: skip
