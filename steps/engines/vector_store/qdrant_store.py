"""Nearest vectors by Qdrant: the client's embedded mode, or a server. Always exact."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import numpy as np

from steps.contracts.arrays import Numbers, Vectors
from steps.contracts.errors import ConfigError, MissingDependencyError, ServiceError
from steps.engines.vector_store.config import VectorStoreConfig

# Chosen: points per request; 1,024 vectors of 384 dimensions are 4 MB of JSON or less.
_POINTS = 1024
_TIMEOUT_SECONDS = 120


class QdrantStore:
    """A collection of its own, deleted at the end. Points carry a number and a vector, never a text.

    Searches ask for exact results: a server builds its HNSW graph in the background, so that approximate ones would
    depend on when they are asked.
    """

    exact = True

    def __init__(self, config: VectorStoreConfig, dimensions: int) -> None:
        self._models, self._client = _client(config)
        self._where = config.qdrant_url or "embedded Qdrant"
        # A name of its own, so that runs that share a server don't meet.
        self._name = f"assay-{secrets.token_hex(8)}"
        self._rows = 0
        vectors = self._models.VectorParams(size=dimensions, distance=self._models.Distance.DOT)
        with self._asking():
            self._client.create_collection(self._name, vectors_config=vectors)

    def add(self, vectors: Vectors) -> None:
        """Add unit vectors, shape (m, d)."""
        for start in range(0, len(vectors), _POINTS):
            part = vectors[start : start + _POINTS]
            ids = list(range(self._rows, self._rows + len(part)))
            with self._asking():
                self._client.upsert(
                    self._name, self._models.Batch(ids=ids, vectors=part.astype(float).tolist()), wait=True
                )
            self._rows += len(part)

    def search(self, vectors: Vectors, k: int) -> tuple[Vectors, Numbers]:
        """Cosines and numbers of the k most similar vectors per query; both of shape (n, k)."""
        scores = np.full((len(vectors), k), -np.inf, np.float32)
        numbers = np.full((len(vectors), k), -1, np.int64)
        exact = self._models.SearchParams(exact=True)
        for start in range(0, len(vectors), _POINTS):
            queries = [
                self._models.QueryRequest(query=v, limit=k, params=exact)
                for v in vectors[start : start + _POINTS].astype(float).tolist()
            ]
            with self._asking():
                answers = self._client.query_batch_points(self._name, queries)
            for row, answer in enumerate(answers, start):
                for place, point in enumerate(answer.points):
                    scores[row, place], numbers[row, place] = point.score, point.id
        return scores, numbers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            with self._asking():
                self._client.delete_collection(self._name)
        finally:
            self._client.close()

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Turn what the client raises when a server is away or refuses into a ServiceError."""
        import httpx
        from qdrant_client.http.exceptions import ApiException

        try:
            yield
        except (ApiException, httpx.HTTPError, OSError) as e:
            raise ServiceError(
                f"Qdrant doesn't do what it is asked ({type(e).__name__})", where=self._where,
                hint="start the server, correct neighbours.qdrant_url and qdrant_key_env, or set backend: faiss",
            ) from e  # fmt: skip


def _client(config: VectorStoreConfig) -> tuple[Any, Any]:
    try:
        from qdrant_client import QdrantClient, models
    except ImportError as e:
        raise MissingDependencyError(
            "the package qdrant-client is not installed",
            hint="pip install 'assay[qdrant]', or set neighbours.backend: faiss",
        ) from e
    if config.qdrant_url is None:
        return models, QdrantClient(":memory:")
    key = None
    if config.qdrant_key_env is not None:
        key = os.environ.get(config.qdrant_key_env, "").strip()
        if not key:
            raise ConfigError(
                f"the environment variable {config.qdrant_key_env} is not set, and qdrant_key_env names it",
                where=config.qdrant_url, hint=f"export {config.qdrant_key_env}=..., or leave qdrant_key_env out",
            )  # fmt: skip
    return models, QdrantClient(url=config.qdrant_url, api_key=key, timeout=_TIMEOUT_SECONDS, check_compatibility=False)
