"""What an embedding backend gives back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Vectors: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Vector:
    """One text's vector, shape (d,), float32. `cut`: the model read only the text's beginning."""

    values: Vectors
    cut: bool = False


# Why there is no vector: a reason code (not_finite, zero_vector, dimension, server_error ...).
NoVector: TypeAlias = str


class Backend(Protocol):
    """Something that embeds texts. `identity` changes with everything that changes a vector's bits."""

    @property
    def identity(self) -> str:
        """Digest of the model and of how it is run."""

    def vectors(self, texts: Sequence[str]) -> list[Vector | NoVector]:
        """One result per text, in order."""

    def requests(self) -> int:
        """HTTP requests sent so far; 0 for a model on this machine."""

    def close(self) -> None:
        """Let go of connections."""
