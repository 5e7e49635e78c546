"""Nearest vectors by FAISS: exact, HNSW or IVF."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import numpy as np

from steps.contracts.arrays import Numbers, Vectors
from steps.contracts.errors import MissingDependencyError
from steps.engines.vector_store.config import VectorStoreConfig

# FAISS's own least number of training vectors per cluster, below which it warns.
_LEAST_PER_CLUSTER = 39


class FaissStore:
    """An IndexFlatIP up to `exact_up_to` vectors, above it what the config names.

    FAISS runs on one thread here: with more, the order in which an HNSW graph grows, and so what it finds, is
    different in every run.
    """

    def __init__(self, config: VectorStoreConfig, sample: Vectors, rows: int) -> None:
        self._faiss = faiss_library()
        self.exact = rows <= config.exact_up_to
        with one_thread(self._faiss):
            self._index = self._flat(sample) if self.exact else self._approximate(config, sample, rows)

    def _flat(self, sample: Vectors) -> Any:
        return self._faiss.IndexFlatIP(sample.shape[1])

    def _approximate(self, config: VectorStoreConfig, sample: Vectors, rows: int) -> Any:
        dimensions = sample.shape[1]
        if config.above == "hnsw":
            index = self._faiss.IndexHNSWFlat(dimensions, config.hnsw_links, self._faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction, index.hnsw.efSearch = config.hnsw_build, config.hnsw_search
            return index
        lists = config.ivf_lists or round(4 * math.sqrt(rows))
        lists = max(1, min(lists, len(sample) // _LEAST_PER_CLUSTER))
        # The coarse quantiser belongs to the index object; a reference keeps Python from freeing it.
        self._coarse = self._flat(sample)
        index = self._faiss.IndexIVFFlat(self._coarse, dimensions, lists, self._faiss.METRIC_INNER_PRODUCT)
        index.cp.seed = config.seed
        index.train(np.ascontiguousarray(sample))
        index.nprobe = min(config.ivf_probes, lists)
        return index

    def add(self, vectors: Vectors) -> None:
        """Add unit vectors, shape (m, d)."""
        if len(vectors):
            with one_thread(self._faiss):
                self._index.add(np.ascontiguousarray(vectors))

    def search(self, vectors: Vectors, k: int) -> tuple[Vectors, Numbers]:
        """Cosines and numbers of the k most similar vectors per query; both of shape (n, k)."""
        with one_thread(self._faiss):
            scores, numbers = self._index.search(np.ascontiguousarray(vectors), k)
        scores[numbers < 0] = -np.inf
        return scores, numbers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Nothing is held open."""


@contextmanager
def one_thread(faiss: Any) -> Iterator[None]:
    """Let FAISS use one thread, then as many as before."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def faiss_library() -> Any:
    """The faiss module.

    Raises:
        MissingDependencyError: it isn't installed.
    """
    try:
        import faiss
    except ImportError as e:
        raise MissingDependencyError(
            "the package faiss is not installed", hint="pip install faiss-cpu, or set neighbours.backend: qdrant"
        ) from e
    return faiss
