"""What requests are about, as vectors: of an embedding model, or of hashed words where there is none."""

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from steps.contracts.arrays import Numbers, Vectors
from steps.contracts.context import StageContext
from steps.contracts.errors import ServiceError
from steps.engines.embed.cache import EmbeddingCache
from steps.engines.embed.config import EmbedConfig
from steps.engines.vector_store.clusters import clusters
from steps.monitor.texts import without_names

# Unit vectors of texts, shape (n, d); equal texts have equal vectors.
Vectorise: TypeAlias = Callable[[Sequence[str]], Vectors]
# Chosen: the words of a domain collide seldom, and all pairs of a thousand rows take a moment.
_DIMENSIONS = 512
# Chosen: among new requests on the same topics it is little more, and a new topic is nearly all there.
_FARTHEST = 0.01
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


@dataclass(frozen=True)
class Topics:
    """Clusters of the training requests. `centres`: unit vectors, shape (k, d); `least`: a request that is less like
    all of them, by the cosine, is on none of these topics.
    """

    centres: Vectors
    least: float

    def cosines(self, vectors: Vectors) -> npt.NDArray[np.float64]:
        """Of each vector with its nearest centre."""
        return np.asarray(self._all(vectors).max(axis=1))

    def counts(self, vectors: Vectors) -> Numbers:
        """Requests per topic, and on none, which comes last; of equally near centres the first counts."""
        cosines = self._all(vectors)
        found = np.where(cosines.max(axis=1) < self.least, len(self.centres), cosines.argmax(axis=1))
        return np.bincount(found, minlength=len(self.centres) + 1).astype(np.int64)

    def _all(self, vectors: Vectors) -> npt.NDArray[np.float64]:
        return np.round(vectors.astype(np.float64) @ self.centres.T.astype(np.float64), 6)


def find_topics(vectors: Vectors, number: int, seed: int) -> Topics:
    """Topics of these requests. What is on none of them lies farther from all centres than 99 of 100 of these do."""
    centres, _ = clusters(vectors, number, seed)
    return Topics(centres, float(np.quantile(Topics(centres, 0.0).cosines(vectors), _FARTHEST)))
