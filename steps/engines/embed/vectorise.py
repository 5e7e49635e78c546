"""What texts are about, as vectors: of an embedding model, or of hashed words where there is none."""

import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import numpy as np

from steps.contracts.arrays import Vectors
from steps.contracts.context import StageContext
from steps.contracts.errors import ServiceError
from steps.engines.embed.cache import EmbeddingCache
from steps.engines.embed.config import EmbedConfig
from steps.engines.text.pseudonyms import without_names
from steps.engines.text.terms import terms

# Unit vectors of texts, shape (n, d); equal texts have equal vectors.
Vectorise: TypeAlias = Callable[[Sequence[str]], Vectors]
# Chosen: the words of a domain collide seldom, and all pairs of a thousand rows take a moment.
_DIMENSIONS = 512


def hashed(texts: Sequence[str]) -> Vectors:
    """Words by hash, each with a sign of its own (Weinberger et al. 2009), as 1 + ln(count), scaled to length 1."""
    return _hashed([Counter(terms(text)) for text in texts], lambda _: 1.0)


def hashed_by_rarity(texts: Sequence[str]) -> Vectors:
    """The same, where a word weighs ln(texts / texts with it) more: these texts are told apart by what few of them say.
    A word that all of them have weighs nothing.
    """
    counts = [Counter(terms(text)) for text in texts]
    having = Counter(word for count in counts for word in count)
    return _hashed(counts, lambda word: math.log(len(texts) / having[word]))


def _hashed(counts: Sequence[Counter[str]], weight: Callable[[str], float]) -> Vectors:
    vectors = np.zeros((len(counts), _DIMENSIONS), np.float32)
    for row, words in zip(vectors, counts, strict=True):
        for word, count in words.items():
            digest = zlib.crc32(word.encode("utf-8", "surrogatepass"))
            row[digest % _DIMENSIONS] += weight(word) * (1 + np.log(count)) * (1 if digest >> 31 else -1)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1), np.float32)


@contextmanager
def vectoriser(
    config: EmbedConfig | None, ctx: StageContext, stage: str, without: Vectorise = hashed
) -> Iterator[Vectorise]:
    """What turns texts into vectors, for a stage whose settings have `config` as `embed`.

    `without`: where that is None.

    Raises:
        As `open_embedder`; ServiceError: a text has no vector.
    """
    if config is None:
        yield without
        return
    from steps.engines.embed.embedder import open_embedder

    with EmbeddingCache(ctx.cache or ctx.folder) as cache, open_embedder(config, ctx.root, cache) as embedder:

        def embedded(texts: Sequence[str]) -> Vectors:
            found = embedder.embed([without_names(t) or " " for t in texts])
            if found.failed:
                reasons = ", ".join(sorted(set(found.failed.values())))
                raise ServiceError(
                    f"{len(found.failed)} texts could not be embedded ({reasons})", where=f"{stage}.embed",
                    hint=f"mend the model or server and run again, or leave {stage}.embed out",
                )  # fmt: skip
            return found.vectors

        yield embedded
