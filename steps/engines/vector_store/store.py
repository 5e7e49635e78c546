"""A growing set of unit vectors that is asked for the most similar ones."""

from types import TracebackType
from typing import Protocol, Self

from steps.contracts.arrays import Numbers, Vectors


class VectorStore(Protocol):
    """Vectors are numbered from 0 in the order in which they are added. A context manager."""

    @property
    def exact(self) -> bool:
        """Whether `search` never misses a nearer vector."""

    def add(self, vectors: Vectors) -> None:
        """Add unit vectors, shape (m, d)."""

    def search(self, vectors: Vectors, k: int) -> tuple[Vectors, Numbers]:
        """Cosines, descending, and numbers of the k most similar vectors per query; both of shape (n, k).

        Where there are fewer than k: number -1, cosine -inf.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None: ...
