"""A classifier of texts that learns what is kept: logistic regression on hashed n-grams, or on embeddings."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from steps.contracts.arrays import Mask
from steps.contracts.context import StageContext
from steps.contracts.evaluation import Estimate
from steps.engines.embed.cache import EmbeddingCache
from steps.engines.embed.config import EmbedConfig
from steps.engines.embed.embedder import open_embedder
from steps.engines.scoring.cutoff import cutoff_for
from steps.engines.scoring.wilson import wilson

Floats = npt.NDArray[np.float64]

# Chosen: columns of hashed words and of hashed letters; a few collide.
_COLUMNS = 1 << 17
_FOLDS = 5
# Chosen: what is computed at once.
_TEXTS_AT_ONCE = 2_000
# A text without features is as likely to be kept as to be dropped.
UNKNOWN = 0.5
# Chosen: digits of a probability, so that the last bits of a sum decide nothing.
_DIGITS = 6


class Features(Protocol):
    """Texts to rows of a matrix."""

    def of(self, texts: Sequence[str]) -> tuple[Any, Mask]:
        """Features, shape (n, d), dense or sparse; and which texts have any, shape (n,)."""


class Ngrams:
    """Words and pairs of them, and three to five letters within words, hashed; each text scaled to length 1."""

    def __init__(self) -> None:
        from sklearn.feature_extraction.text import HashingVectorizer

        shared = {"n_features": _COLUMNS, "alternate_sign": False}
        self._parts = [
            HashingVectorizer(analyzer="word", ngram_range=(1, 2), **shared),
            HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), **shared),
        ]

    def of(self, texts: Sequence[str]) -> tuple[Any, Mask]:
        """Sparse features."""
        from scipy.sparse import hstack

        return hstack([part.transform(texts) for part in self._parts], "csr"), np.ones(len(texts), bool)


class Embedded:
    """Vectors of an embedding model; texts that have none are told."""

    def __init__(self, config: EmbedConfig, ctx: StageContext, opened: ExitStack) -> None:
        kept = opened.enter_context(EmbeddingCache(ctx.cache))
        self._embedder = opened.enter_context(open_embedder(config, ctx.root, kept))

    def of(self, texts: Sequence[str]) -> tuple[Any, Mask]:
        """Dense features."""
        found = self._embedder.embed(texts)
        return found.vectors, found.ok


@dataclass(frozen=True)
class Band:
    """Probabilities of being kept between which the classifier isn't sure: `drop` < p < `keep`."""

    drop: float
    keep: float

    def decides(self, p: Floats) -> Mask:
        """Of which rows it is sure; never of one that is as likely kept as dropped."""
        found: Mask = ((p >= self.keep) & (p > UNKNOWN)) | ((p <= self.drop) & (p < UNKNOWN))
        return found


@dataclass(frozen=True)
class Learned:
    """What was learned.

    Attributes:
        model: scikit-learn's.
        band: where it isn't sure.
        agreement: of held-out rows that it was sure of, the share decided as they were judged; None: of none.
        held_out: rows that it was tried on. sure: of these, those it was sure of.
    """

    model: Any
    band: Band
    agreement: Estimate | None
    held_out: int
    sure: int

    def probabilities(self, features: Features, texts: Sequence[str]) -> Floats:
        """How likely each text is to be kept, shape (n,)."""
        parts = [np.zeros(0)]
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            found, ok = features.of(texts[start : start + _TEXTS_AT_ONCE])
            p = np.full(len(ok), UNKNOWN)
            if ok.any():
                p[ok] = self.model.predict_proba(found[ok])[:, 1]
            parts.append(np.round(p, _DIGITS))
        return np.concatenate(parts)


def learn(features: Features, texts: Sequence[str], kept: Sequence[bool], wanted: float) -> Learned:
    """Train on texts and what became of them, in an order that has nothing to do with either.

    Each row is tried by a model that didn't see it, with a band that was chosen without it, so that the agreement is
    that of new rows.

    Raises:
        ValueError: one of the folds has rows of one kind only.
    """
    found, ok = features.of(texts)
    found, target = found[ok], np.asarray(kept, bool)[ok]
    fold = np.arange(len(target)) % _FOLDS
    p = np.zeros(len(target))
    for number in range(_FOLDS):
        p[fold == number] = _fitted(found[fold != number], target[fold != number]).predict_proba(found[fold == number])[
            :, 1
        ]
    p = np.round(p, _DIGITS)
    sure, right = np.zeros(len(target), bool), (p >= UNKNOWN) == target
    for number in range(_FOLDS):
        here = fold == number
        sure[here] = band_for(target[~here], p[~here], wanted).decides(p[here])
    agreement = wilson(int((sure & right).sum()), int(sure.sum()))
    return Learned(_fitted(found, target), band_for(target, p, wanted), agreement, len(target), int(sure.sum()))


def band_for(kept: Mask, p: Floats, wanted: float) -> Band:
    """The narrowest band outside of which so large a share of the rows is decided as they were judged."""
    sides = []
    for truth, likely in ((kept, p), (~kept, 1 - p)):
        above = likely >= UNKNOWN
        found = cutoff_for(truth[above].tolist(), np.round(likely[above], _DIGITS).tolist(), wanted, sure=False)
        # Above 1 there is none.
        sides.append(2.0 if found is None else found.threshold)
    return Band(drop=round(1 - sides[1], _DIGITS), keep=sides[0])


def _fitted(features: Any, target: Mask) -> Any:
    from sklearn.linear_model import LogisticRegression

    # C by scikit-learn's default would leave rows of length 1 near the mean: chosen. There are far more columns than
    # rows, so that the dual costs a hundredth.
    model = LogisticRegression(C=30.0, max_iter=2_000, solver="liblinear", dual=True, random_state=0)
    return model.fit(features, target)
