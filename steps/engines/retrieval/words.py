"""Texts that share the most telling words with a question: Okapi BM25.

The form with non-negative weights, log(1 + (N - n + 0.5) / (n + 0.5)), of Robertson and Zaragoza, The Probabilistic
Relevance Framework (2009), as Lucene has it.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

# Lucene's defaults.
_K1, _B = 1.2, 0.75
_WORD = re.compile(r"\w+")


def words_of(text: str) -> list[str]:
    """The words of a text, case folded."""
    return _WORD.findall(text.casefold())


class WordIndex:
    """By word the passages that hold it, with what it weighs in each."""

    def __init__(self, texts: Sequence[str]) -> None:
        counts = [Counter(words_of(t)) for t in texts]
        mean = max(sum(c.total() for c in counts) / max(len(counts), 1), 1.0)
        holding: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for number, c in enumerate(counts):
            dampened = _K1 * (1 - _B + _B * c.total() / mean)
            for word, n in c.items():
                holding[word].append((number, n * (_K1 + 1) / (n + dampened)))
        self._passages = len(texts)
        self._words = {w: self._weighed(found) for w, found in holding.items()}

    def _weighed(self, holding: list[tuple[int, float]]) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the passages that hold a word and its weights in them, shape (n,) both."""
        rarity = math.log(1 + (self._passages - len(holding) + 0.5) / (len(holding) + 0.5))
        numbers, weights = zip(*holding, strict=True)
        return np.array(numbers, np.int64), rarity * np.array(weights)

    def nearest(self, questions: Sequence[str], k: int) -> list[list[int]]:
        """Per question the numbers of at most `k` passages, best first; equal ones by number. Those that share no word
        with it are left out.
        """
        return [self._of(question, k) for question in questions]

    def _of(self, question: str, k: int) -> list[int]:
        scores = np.zeros(self._passages)
        for word in sorted(set(words_of(question)) & self._words.keys()):
            numbers, weights = self._words[word]
            scores[numbers] += weights
        best = np.argsort(-scores, kind="stable")[:k]
        return [int(i) for i in best if scores[i] > 0]
