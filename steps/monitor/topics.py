"""What requests are about, as vectors: of an embedding model, or of hashed words where there is none."""

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import numpy as np

from steps.contracts.arrays import Numbers, Vectors
from steps.contracts.context import StageContext
from steps.contracts.errors import ServiceError
from steps.engines.embed.cache import EmbeddingCache
from steps.engines.embed.config import EmbedConfig
from steps.monitor.texts import without_names

# Unit vectors of texts, shape (n, d); equal texts have equal vectors.
Vectorise: TypeAlias = Callable[[Sequence[str]], Vectors]
# Chosen: the words of a domain collide seldom, and all pairs of a thousand rows take a moment.
_DIMENSIONS = 512
_WORD = re.compile(r"\w+")


def hashed(texts: Sequence[str]) -> Vectors:
    """Words by hash, each with a sign of its own (Weinberger et al. 2009), as 1 + ln(count), scaled to length 1."""
    vectors = np.zeros((len(texts), _DIMENSIONS), np.float32)
    for row, text in zip(vectors, texts, strict=True):
        for word, count in Counter(_WORD.findall(without_names(text).casefold())).items():
            digest = zlib.crc32(word.encode("utf-8", "surrogatepass"))
            row[digest % _DIMENSIONS] += (1 + np.log(count)) * (1 if digest >> 31 else -1)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1), np.float32)


@contextmanager
def vectoriser(config: EmbedConfig | None, ctx: StageContext) -> Iterator[Vectorise]:
    """What turns texts into vectors.

    Raises:
        As `open_embedder`; ServiceError: a text has no vector.
    """
    if config is None:
        yield hashed
        return
    from steps.engines.embed.embedder import open_embedder

    with EmbeddingCache(ctx.cache or ctx.folder) as cache, open_embedder(config, ctx.root, cache) as embedder:

        def embedded(texts: Sequence[str]) -> Vectors:
            found = embedder.embed([without_names(t) or " " for t in texts])
            if found.failed:
                reasons = ", ".join(sorted(set(found.failed.values())))
                raise ServiceError(
                    f"{len(found.failed)} requests could not be embedded ({reasons})", where="monitor.embed",
                    hint="mend the model or server and run again, or leave monitor.embed out",
                )  # fmt: skip
            return found.vectors

        yield embedded


def nearest(vectors: Vectors, centres: Vectors) -> Numbers:
    """The centre with the largest cosine, per vector; of equal ones the first."""
    cosines = np.round(vectors.astype(np.float64) @ centres.T.astype(np.float64), 6)
    return np.asarray(cosines.argmax(axis=1), np.int64)
