"""Texts to unit vectors: each text once, none that is known already, and a reason where there is no vector."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from steps.contracts.digests import short_id
from steps.contracts.errors import ServiceError
from steps.engines.embed.cache import VectorCache
from steps.engines.embed.config import EmbedConfig
from steps.engines.embed.vectors import Backend, NoVector, Vector, Vectors

# Chosen: what a crash loses at most, and what is held beside the caller's own texts.
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
    """An embedding model with its cache; a context manager.

    Equal texts have equal vectors, also when they are far apart in the data. The first vector fixes the dimension.
    """

    def __init__(self, backend: Backend, cache: VectorCache | None) -> None:
        self.backend, self._cache = backend, cache
        self.dimensions: int | None = None
        self.counts: Counter[str] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self.backend.close()
        finally:
            if self._cache is not None:
                self._cache.close()

    def embed(self, texts: Sequence[str]) -> Embedded:
        """One unit vector per text, or the reason why there is none. Texts must not be empty.

        Raises:
            ServiceError: the endpoint as a whole doesn't work, or its vectors change their dimension.
        """
        results: list[Vector | NoVector] = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            results += self._some(texts[start : start + _TEXTS_AT_ONCE])
        failed = {i: r for i, r in enumerate(results) if isinstance(r, str)}
        vectors = np.zeros((len(texts), self.dimensions or 0), np.float32)
        cut = np.zeros(len(texts), bool)
        for i, r in enumerate(results):
            if isinstance(r, Vector):
                vectors[i], cut[i] = r.values, r.cut
        ok = np.ones(len(texts), bool)
        ok[list(failed)] = False
        return Embedded(vectors, ok, cut, failed)

    def _some(self, texts: Sequence[str]) -> list[Vector | NoVector]:
        keys = [short_id(self.backend.identity, t) for t in texts]
        known: dict[str, Vector | NoVector] = dict(self._cache.get_many(keys)) if self._cache is not None else {}
        new = {k: t for k, t in zip(keys, texts, strict=True) if k not in known}
        self.counts["vectors from the cache"] += len(known)
        self.counts["texts embedded"] += len(new)
        fresh = [_unit(v) for v in self.backend.vectors(list(new.values()))] if new else []
        found = {k: v for k, v in zip(new, fresh, strict=True) if isinstance(v, Vector)}
        self._check_dimensions([v for v in (*known.values(), *found.values()) if isinstance(v, Vector)])
        if self._cache is not None and found:
            self._cache.put_many(found)
        known.update(zip(new, fresh, strict=True))
        return [known[k] for k in keys]

    def _check_dimensions(self, vectors: list[Vector]) -> None:
        for v in vectors:
            if self.dimensions is None:
                self.dimensions = len(v.values)
            if len(v.values) != self.dimensions:
                raise ServiceError(
                    f"vectors of {len(v.values)} and of {self.dimensions} dimensions from one model", where="embedding",
                    hint="set endpoint.dimensions; if another model now answers under this name, remove the cache"
                    " folder `embeddings` of the state folder",
                )  # fmt: skip


def _unit(result: Vector | NoVector) -> Vector | NoVector:
    """The vector scaled to length 1, or why it can't be."""
    if isinstance(result, str):
        return result
    values = result.values.astype(np.float64)
    length = float(np.sqrt(values @ values))
    if not np.isfinite(length):
        return "not_finite"
    if length == 0.0:
        return "zero_vector"
    return Vector((values / length).astype(np.float32), result.cut)


def open_embedder(config: EmbedConfig, root: Path, cache_folder: Path | None) -> Embedder:
    """The configured model. `root`: where relative folders start; `cache_folder` None: nothing is kept.

    Raises:
        MissingDependencyError, InputNotFoundError, ServiceError, ConfigError: the model can't be had.
    """
    backend = _backend(config, root)
    try:
        cache = None if cache_folder is None else VectorCache(cache_folder / "vectors.sqlite")
    except BaseException:
        backend.close()
        raise
    return Embedder(backend, cache)


def _backend(config: EmbedConfig, root: Path) -> Backend:
    if config.endpoint is not None:
        from steps.engines.embed.remote import RemoteModel

        return RemoteModel(config.endpoint, config.prompt)
    from steps.engines.embed.local import LocalModel

    return LocalModel(config, config.model or "", root)
