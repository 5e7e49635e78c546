"""k-means on unit vectors."""

import numpy as np
import numpy.typing as npt

from steps.contracts.arrays import Vectors
from steps.engines.vector_store.faiss_store import faiss_library, one_thread

# Chosen: more rounds change few assignments; FAISS's own default is 25.
_ROUNDS = 25
# FAISS's own bound: more vectors per cluster are sampled, by the seed.
_PER_CLUSTER = 256


def clusters(vectors: Vectors, number: int, seed: int) -> tuple[Vectors, npt.NDArray[np.int64]]:
    """Unit centres, shape (k, d), and the nearest centre per vector, shape (n,); k is `number`, or n when n is less.

    Equal vectors in equal order and an equal seed give equal clusters; the order of the vectors matters.
    """
    faiss = faiss_library()
    data = np.ascontiguousarray(vectors)
    k = min(number, len(data))
    with one_thread(faiss):
        means = faiss.Kmeans(
            data.shape[1], k, niter=_ROUNDS, seed=seed, spherical=True, min_points_per_centroid=1,
            max_points_per_centroid=_PER_CLUSTER,
        )  # fmt: skip
        means.train(data)
        _, nearest = means.index.search(data, 1)
    return np.array(means.centroids, np.float32), nearest[:, 0].astype(np.int64)
