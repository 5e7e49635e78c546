"""Texts to unit vectors: each text once, none that is known already, and a reason where there is no vector."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from steps.contracts.arrays import Vectors
from steps.engines.embed.cache import CachedSpace, EmbeddingCache
from steps.engines.embed.config import EmbedConfig
from steps.engines.embed.vectors import Backend, NoVector, Vector

# Chosen: what is held beside the caller's own texts.
_TEXTS_AT_ONCE = 1024


@dataclass(frozen=True)
class Embedded:
    """Of n texts: unit vectors, shape (n, d), zero where there is none; whether there is one, shape (n,); whether the
    model read only the beginning, shape (n,); and why there is none, by position.

    d is 0 when no text of the call has a vector.
    """

    vectors: Vectors
    ok: npt.NDArray[np.bool_]
    cut: npt.NDArray[np.bool_]
    failed: dict[int, NoVector]


class Embedder:
    """An embedding model and what is cached of it; a context manager.

    Equal texts have equal vectors, also when they are far apart in the data.
    """

    def __init__(self, backend: Backend, cached: CachedSpace) -> None:
        self.backend, self.cached = backend, cached

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.backend.close()

    def embed(self, texts: Sequence[str]) -> Embedded:
        """One unit vector per text, or the reason why there is none. Texts must not be empty.

        Raises:
            ServiceError: the endpoint as a whole doesn't work, or its vectors change their dimension.
        """
        results: list[Vector | NoVector] = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            results += self.cached.resolve(texts[start : start + _TEXTS_AT_ONCE], self.backend.vectors)
        failed = {i: r for i, r in enumerate(results) if isinstance(r, str)}
        vectors = np.zeros((len(texts), self.cached.dimensions or 0), np.float32)
        cut = np.zeros(len(texts), bool)
        for i, r in enumerate(results):
            if isinstance(r, Vector):
                vectors[i], cut[i] = r.values, r.cut
        ok = np.ones(len(texts), bool)
        ok[list(failed)] = False
        return Embedded(vectors, ok, cut, failed)


def open_embedder(config: EmbedConfig, root: Path, cache: EmbeddingCache) -> Embedder:
    """The configured model. `root`: where relative folders start.

    Raises:
        MissingDependencyError, InputNotFoundError, ServiceError, ConfigError: the model can't be had.
    """
    backend = _backend(config, root)
    try:
        cached = cache.open("vectors.sqlite", backend.identity)
    except BaseException:
        backend.close()
        raise
    return Embedder(backend, cached)


def open_coarse(config: EmbedConfig, root: Path, cache: EmbeddingCache) -> Embedder | None:
    """The same model in bfloat16, whose vectors are near the ones that count, at a third of the cost; None where there
    is no such: an endpoint, another device than the CPU, or a processor that would emulate it.

    Raises:
        MissingDependencyError, InputNotFoundError, ServiceError, ConfigError: the model can't be had.
    """
    from steps.engines.lm.device import multiplies_bfloat16

    if config.model is None or not multiplies_bfloat16(config.device):
        return None
    from steps.engines.embed.local import LocalEmbedder

    backend = LocalEmbedder(config, config.model, root, dtype="bfloat16")
    return Embedder(backend, cache.open("vectors.sqlite", backend.identity))


def _backend(config: EmbedConfig, root: Path) -> Backend:
    if config.endpoint is not None:
        from steps.engines.embed.remote import RemoteModel

        return RemoteModel(config.endpoint, config.prompt)
    from steps.engines.embed.local import LocalEmbedder

    return LocalEmbedder(config, config.model or "", root)
