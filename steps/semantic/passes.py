"""Every row embedded well enough to decide: all of them coarsely where that is cheaper, and in full those that matter.

A row matters when its nearest other row lies near the threshold or above. All pairs of which both rows don't matter are
farther apart than the threshold, whatever the last bits are, so that the same rows go as if all were read in full.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from steps.contracts.arrays import Mask, Numbers, Vectors
from steps.contracts.dataset import Dataset
from steps.contracts.records import KINDS
from steps.engines.embed.cache import EmbeddingCache
from steps.engines.embed.embedder import Embedder, open_coarse, open_embedder
from steps.engines.vector_store.open import open_store
from steps.semantic.config import SemanticConfig
from steps.semantic.embeddings import Embeddings, read_embeddings
from steps.semantic.spill import TextSpill

# Chosen: below this many rows a second copy of the model costs more than it saves.
_FROM_ROWS = 512
# Cosines of all-MiniLM-L6-v2 in bfloat16 were at most 0.0057 from those in float32 (1,000 order mails, all pairs), and
# 0.0016 where they are above 0.9. Chosen: three times the former.
_MARGIN = 0.02
# Chosen: rows that are read in full in any case, to see that the margin holds for this model and these texts.
_CHECKED = 64
# Rows at once.
_BLOCK = 1024


def embed_rows(
    rows: Dataset, config: SemanticConfig, root: Path, cache: EmbeddingCache, texts: TextSpill
) -> tuple[Embeddings, int, tuple[str, ...]]:
    """Unit vectors, requests that were sent for them, and what the report says about how they were made."""
    coarse = open_coarse(config.embed, root, cache) if _worth_it(rows, config) else None
    if coarse is None:
        with open_embedder(config.embed, root, cache) as embedder:
            return read_embeddings(rows, config, embedder, texts), embedder.backend.requests(), ()
    with coarse:
        embedded = read_embeddings(rows, config, coarse, texts)
    due = _due(embedded, config)
    with open_embedder(config.embed, root, cache) as embedder:
        found, error = _in_full(embedded, np.flatnonzero(due), config, embedder, texts)
        said = (
            f"{int(due.sum()):,} of {len(due):,} rows read in full, the others in bfloat16 only: nothing is near them"
        )
        if error > _MARGIN:
            found, _ = _in_full(embedded, np.arange(len(due)), config, embedder, texts)
            said = f"all rows read in full, since bfloat16 is not exact enough for this model (off by {error:.3f})"
    return found, 0, (said,)


def _worth_it(rows: Dataset, config: SemanticConfig) -> bool:
    return config.first_pass == "bfloat16" and rows.rows >= _FROM_ROWS


def _due(rows: Embeddings, config: SemanticConfig) -> Mask:
    """Rows that must be read in full, shape (n,): with a neighbour, without a vector, and some more for comparison."""
    due = np.zeros(len(rows.kinds), bool)
    due[list(rows.failed)] = True
    for kind in range(len(KINDS)):
        of_kind = np.flatnonzero(rows.compared & (rows.kinds == kind))
        if len(of_kind):
            due[of_kind] = _nearest(rows.vectors[of_kind], config) >= config.threshold - _MARGIN
    compared = np.flatnonzero(rows.compared)
    due[compared[:: max(1, len(compared) // _CHECKED)]] = True
    return due


def _nearest(vectors: Vectors, config: SemanticConfig) -> Vectors:
    """Each vector's highest cosine with another one of them, shape (n,); -inf where there is none."""
    n = len(vectors)
    nearest: Vectors = np.full(n, -np.inf, np.float32)
    with open_store(config.neighbours, vectors, n) as store:
        for start in range(0, n, _BLOCK):
            store.add(vectors[start : start + _BLOCK])
        for start in range(0, n, _BLOCK):
            here = np.arange(start, min(start + _BLOCK, n))
            close, numbers = store.search(vectors[here], min(2, n))
            others = np.where(numbers == here[:, None], -np.inf, close)
            nearest[here] = others.max(axis=1)
    return nearest


def _in_full(
    rows: Embeddings, due: Numbers, config: SemanticConfig, embedder: Embedder, texts: TextSpill
) -> tuple[Embeddings, float]:
    """The rows with vectors in full where they are due, and how far the cosines of these were off before."""
    vectors, compared, failed = rows.vectors.copy(), rows.compared.copy(), dict(rows.failed)
    filled = due[~rows.empty[due]]
    for start in range(0, len(filled), _BLOCK):
        here = filled[start : start + _BLOCK]
        found = embedder.embed([texts.get(int(row)) for row in here])
        if found.ok.any():
            if vectors.shape[1] != found.vectors.shape[1]:
                vectors = np.zeros((len(vectors), found.vectors.shape[1]), np.float32)
            vectors[here[found.ok]] = found.vectors[found.ok]
        compared[here] = found.ok & (~found.cut if config.cut_texts == "keep" else True)
        for place, row in enumerate(here.tolist()):
            failed.pop(row, None)
            if place in found.failed:
                failed[row] = found.failed[place]
    both = np.flatnonzero(compared & rows.compared)
    sample = np.intersect1d(both, filled)[: 8 * _CHECKED]
    off = np.abs(vectors[sample] @ vectors[sample].T - rows.vectors[sample] @ rows.vectors[sample].T)
    return replace(rows, vectors=vectors, compared=compared, failed=failed), float(off.max(initial=0.0))
