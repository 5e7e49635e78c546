"""How much texts differ from each other: distinct n-grams, self-BLEU, how far embeddings lie apart."""

from collections import Counter
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from steps.contracts.arrays import Vectors

Gram: TypeAlias = tuple[str, ...]
# Chosen: words of a block; as in MSTTR (Johnson 1944), blocks of one length make data sets of any size comparable.
_BLOCK, _LEAST_BLOCK, _BLOCKS = 1_000, 20, 5
_ORDERS = (1, 2, 3, 4)


def block_length(totals: Sequence[int]) -> int:
    """Words of a block, for data sets of so many words: five blocks at least of the smallest one; 0: there are too few
    words.
    """
    length = min(_BLOCK, min(totals, default=0) // _BLOCKS)
    return length if length >= _LEAST_BLOCK else 0


def distinct(texts: Sequence[Sequence[str]], n: int, block: int) -> list[float]:
    """distinct-n (Li et al. 2016, arXiv 1510.03055): distinct n-grams / n-grams, of each whole block of words. No
    n-gram goes from one text into the next.
    """
    found: list[float] = []
    grams: list[Gram] = []
    length = 0
    for text in texts:
        at = 0
        while at < len(text):
            part = text[at : at + block - length]
            grams += _ngrams(part, n)
            at, length = at + len(part), length + len(part)
            if length == block:
                found += [len(set(grams)) / len(grams)] if grams else []
                grams, length = [], 0
    return found


def self_bleu(texts: Sequence[Sequence[str]]) -> list[float]:
    """Of each text its BLEU with all others as references (Zhu et al. 2018, Texygen, arXiv 1802.01886), 0 to 1; two
    texts at least, none empty.

    Up to 4-grams, of shorter texts up to their length; an order without a match counts half, a quarter, ... of one
    (sacrebleu's `exp`); a text that shares no word with any other has 0.
    """
    best = [_two_best(texts, n) for n in _ORDERS]
    lengths = np.sort(np.array([len(t) for t in texts]))
    return [_bleu(place, text, best, lengths) for place, text in enumerate(texts)]


def spread(vectors: Vectors) -> float | None:
    """Mean of 1 - cosine over all pairs of unit vectors, shape (n, dimensions); None: there are fewer than two."""
    n = len(vectors)
    if n < 2:
        return None
    total = vectors.astype(np.float64).sum(axis=0)
    squares = float((vectors.astype(np.float64) ** 2).sum())
    return 1.0 - (float(total @ total) - squares) / (n * (n - 1))


def _ngrams(text: Sequence[str], n: int) -> list[Gram]:
    return [tuple(text[i : i + n]) for i in range(len(text) - n + 1)]


def _two_best(texts: Sequence[Sequence[str]], n: int) -> dict[Gram, tuple[int, int, int]]:
    """Per n-gram the most times that a text has it, which one, and the most times that another one has it."""
    best: dict[Gram, tuple[int, int, int]] = {}
    for place, text in enumerate(texts):
        for gram, count in Counter(_ngrams(text, n)).items():
            most, owner, second = best.get(gram, (0, -1, 0))
            best[gram] = (count, place, most) if count > most else (most, owner, max(second, count))
    return best


def _bleu(
    place: int, text: Sequence[str], best: Sequence[dict[Gram, tuple[int, int, int]]], lengths: np.ndarray
) -> float:
    logs, smooth = 0.0, 1.0
    orders = [n for n in _ORDERS if n <= len(text)]
    for n in orders:
        grams = Counter(_ngrams(text, n))
        matched = 0
        for gram, count in grams.items():
            most, owner, second = best[n - 1][gram]
            matched += min(count, second if owner == place else most)
        if not matched and n == 1:
            return 0.0
        if not matched:
            smooth *= 2
        logs += float(np.log(matched / grams.total() if matched else 1 / (smooth * grams.total())))
    return float(np.exp(logs / len(orders)) * _brevity(len(text), lengths))


def _brevity(length: int, lengths: np.ndarray) -> float:
    """BLEU's penalty for being shorter than the reference that is nearest in length, of equally near ones the shorter.
    `lengths`: of all texts, ascending, one of which is this one.
    """
    own = int(np.searchsorted(lengths, length))
    others = np.delete(lengths, own)
    nearest = int(others[np.abs(others - length).argmin()])
    return 1.0 if length >= nearest else float(np.exp(1 - nearest / length))
