"""Opens the vector store that a config names."""

from steps.contracts.arrays import Vectors
from steps.engines.vector_store.config import VectorStoreConfig
from steps.engines.vector_store.store import VectorStore


def open_store(config: VectorStoreConfig, sample: Vectors, rows: int) -> VectorStore:
    """An empty store for up to `rows` vectors. `sample`, shape (s, d): what they are like; ivf learns its clusters.

    Equal vectors added in equal order, with one thread each, give equal answers in every run on one kind of processor.

    Raises:
        MissingDependencyError: the library isn't installed.
        ServiceError: the Qdrant server doesn't answer.
    """
    if config.backend == "qdrant":
        from steps.engines.vector_store.qdrant_store import QdrantStore

        return QdrantStore(config, sample.shape[1])
    from steps.engines.vector_store.faiss_store import FaissStore

    return FaissStore(config, sample, rows)
