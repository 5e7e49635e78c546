"""How much texts differ from each other: distinct n-grams, self-BLEU, how far embeddings lie apart."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from steps.contracts.arrays import Vectors
from steps.contracts.data_report import Figure
from steps.data_report.intervals import Floats, drawn_by, mean, measured, number
from steps.data_report.looks import Look
from steps.engines.scoring.bootstrap import SEED
from steps.engines.text.normalise import words

_BY = "data_report"
# Chosen: words of a block; as in MSTTR (Johnson 1944), blocks of one length make data sets of any size comparable.
_BLOCK, _LEAST_BLOCK, _BLOCKS = 1_000, 20, 5
# Chosen: self-BLEU rises with the texts that one is compared with, so that both sets have equally many.
_COMPARED = 500
_ORDERS = (1, 2, 3, 4)


def tell_diversity(looks: Sequence[Sequence[Look]], vectors: Sequence[Vectors] | None) -> list[Figure]:
    """Of each set, of its compared rows: distinct-n of what is asked and of what is answered, self-BLEU of answers (of
    documents of the text), spread of embeddings where there are some.
    """
    figures: list[Figure] = []
    answered = [[words(look.answered or look.asked) for look in rows] for rows in looks]
    asked = [[words(look.asked) for look in rows if look.answered] for rows in looks]
    for said, texts in (("answers", answered), ("prompts", asked)):
        block = block_length([sum(map(len, t)) for t in texts])
        for n in (1, 2) if block else ():
            shares = [np.array(distinct(t, n, block), np.float64) for t in texts]
            unit = f"of {block:,} words"
            figures.append(number("diversity", f"distinct-{n} of {said}", shares, mean, _BY, unit=unit,
                                  of=f"blocks of {block:,} words", higher=True))  # fmt: skip
    figures += _self_bleu(answered)
    if vectors is not None:
        drawn = [_spread(v, SEED + i) if len(v) > 1 else None for i, v in enumerate(vectors)]
        figures.append(
            measured("diversity", "spread of embeddings", drawn, _BY, unit="mean cosine distance", higher=True)
        )
    return figures


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
    grams: list[tuple[str, ...]] = []
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


def _ngrams(text: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(text[i : i + n]) for i in range(len(text) - n + 1)]


def _self_bleu(answered: Sequence[Sequence[Sequence[str]]]) -> list[Figure]:
    spoken = [[text for text in texts if text] for texts in answered]
    some = min(_COMPARED, min(map(len, spoken), default=0))
    if some < 2:
        return []
    scores = [np.array(self_bleu(texts[:some]), np.float64) for texts in spoken]
    unit = f"against {some - 1} others"
    return [number("diversity", "self-BLEU of answers", scores, mean, _BY, unit=unit, of="answers", higher=False)]


def self_bleu(texts: Sequence[Sequence[str]]) -> list[float]:
    """Of each text its BLEU with all others as references (Zhu et al. 2018, Texygen, arXiv 1802.01886), 0 to 1; two
    texts at least, none empty.

    Up to 4-grams, of shorter texts up to their length; an order without a match counts half, a quarter, ... of one
    (sacrebleu's `exp`).
    """
    best = [_two_best(texts, n) for n in _ORDERS]
    lengths = np.sort(np.array([len(t) for t in texts]))
    return [_bleu(place, text, best, lengths) for place, text in enumerate(texts)]


def _two_best(texts: Sequence[Sequence[str]], n: int) -> dict[tuple[str, ...], tuple[int, int, int]]:
    """Per n-gram the most times that a text has it, which one, and the most times that another one has it."""
    best: dict[tuple[str, ...], tuple[int, int, int]] = {}
    for place, text in enumerate(texts):
        for gram, count in Counter(_ngrams(text, n)).items():
            most, owner, second = best.get(gram, (0, -1, 0))
            best[gram] = (count, place, most) if count > most else (most, owner, max(second, count))
    return best


def _bleu(place: int, text: Sequence[str], best: Sequence[dict[tuple[str, ...], tuple[int, int, int]]],
          lengths: np.ndarray) -> float:  # fmt: skip
    logs, smooth = 0.0, 1.0
    orders = [n for n in _ORDERS if n <= len(text)]
    for n in orders:
        grams = Counter(_ngrams(text, n))
        matched = 0
        for gram, count in grams.items():
            most, owner, second = best[n - 1][gram]
            matched += min(count, second if owner == place else most)
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


def _spread(vectors: Vectors, seed: int) -> tuple[float, Floats, int]:
    """Mean of 1 - cosine over all pairs of different rows, of unit vectors, and of resamples."""
    cosines = vectors.astype(np.float64) @ vectors.astype(np.float64).T
    squares = np.diag(cosines)

    def of(weights: Floats) -> Floats:
        n = weights.sum(axis=1)
        whole = ((weights @ cosines) * weights).sum(axis=1)
        # A row that is drawn twice makes no pair with itself.
        own, pairs = (weights**2) @ squares, n**2 - (weights**2).sum(axis=1)
        return np.asarray(1 - (whole - own) / np.maximum(pairs, 1))

    once = np.ones(len(vectors))
    return float(of(once[None])[0]), drawn_by(once, of, seed), len(vectors)
