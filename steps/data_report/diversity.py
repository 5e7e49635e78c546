"""How much texts differ from each other: distinct n-grams, self-BLEU, how far embeddings lie apart."""

from collections.abc import Sequence

import numpy as np

from steps.contracts.arrays import Vectors
from steps.contracts.data_report import Figure
from steps.data_report.intervals import Floats, drawn_by, mean, measured, number
from steps.data_report.looks import Look
from steps.engines.diversity.diversity import block_length, distinct, self_bleu
from steps.engines.scoring.bootstrap import SEED
from steps.engines.text.normalise import words

_BY = "data_report"
# Chosen: self-BLEU rises with the texts that one is compared with, so that both sets have equally many.
_COMPARED = 500


def tell_diversity(looks: Sequence[Sequence[Look]], vectors: Sequence[Vectors] | None) -> list[Figure]:
    """Of each set, of its compared rows: distinct-n of what is asked and of what is answered, self-BLEU of answers,
    spread of embeddings where there are some. Of documents the text stands for the answer.
    """
    figures: list[Figure] = []
    answered = [[words(look.answered or look.asked) for look in rows] for rows in looks]
    asked = [[words(look.asked) for look in rows if look.answered] for rows in looks]
    last = _answers_or_documents(looks)
    for said, texts in ((last, answered), ("prompts", asked)):
        block = block_length([sum(map(len, t)) for t in texts])
        for n in (1, 2) if block else ():
            shares = [np.array(distinct(t, n, block), np.float64) for t in texts]
            unit = f"of {block:,} words"
            figures.append(number("diversity", f"distinct-{n} of {said}", shares, mean, _BY, unit=unit,
                                  of=f"blocks of {block:,} words", higher=True))  # fmt: skip
    figures += _self_bleu(answered, last)
    if vectors is not None:
        drawn = [_spread(v, SEED + i) if len(v) > 1 else None for i, v in enumerate(vectors)]
        figures.append(
            measured("diversity", "spread of embeddings", drawn, _BY, unit="mean cosine distance", higher=True)
        )
    return figures


def _answers_or_documents(looks: Sequence[Sequence[Look]]) -> str:
    documents = [look.kind == "document" for rows in looks for look in rows]
    return "answers" if not any(documents) else "documents" if all(documents) else "answers and documents"


def _self_bleu(answered: Sequence[Sequence[Sequence[str]]], said: str) -> list[Figure]:
    spoken = [[text for text in texts if text] for texts in answered]
    some = min(_COMPARED, min(map(len, spoken), default=0))
    if some < 2:
        return []
    scores = [np.array(self_bleu(texts[:some]), np.float64) for texts in spoken]
    unit = f"against {some - 1} others"
    return [number("diversity", f"self-BLEU of {said}", scores, mean, _BY, unit=unit, of=said, higher=False)]


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
