"""What requests are about: clusters of their vectors."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from steps.contracts.arrays import Numbers, Vectors
from steps.engines.vector_store.clusters import clusters

# Chosen: among new requests on the same topics it is little more, and a new topic is nearly all there.
_FARTHEST = 0.01


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
