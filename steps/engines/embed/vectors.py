"""What an embedding backend gives back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from steps.contracts.arrays import Vectors


@dataclass(frozen=True)
class Vector:
    """One text's vector, shape (d,), float32. `cut`: the model read only the text's beginning."""

    values: Vectors
    cut: bool = False


# Why there is no vector: a reason code (not_finite, zero_vector, dimension, server_error ...).
NoVector: TypeAlias = str
# Told the positions of some texts and their results, as soon as these are there.
Done: TypeAlias = Callable[[Sequence[int], Sequence[Vector | NoVector]], None]


class Backend(Protocol):
    """Something that embeds texts. `identity` changes with everything that changes a vector's bits."""

    @property
    def identity(self) -> str:
        """Digest of the model and of how it is run."""

    def vectors(self, texts: Sequence[str], done: Done) -> None:
        """Tell `done` a unit vector of each text, or why there is none: each text once, in any order."""

    def requests(self) -> int:
        """HTTP requests sent so far; 0 for a model on this machine."""

    def close(self) -> None:
        """Let go of connections."""


def unit(raw: npt.ArrayLike, cut: bool = False) -> Vector | NoVector:
    """The vector scaled to length 1, or why it can't be."""
    values = np.asarray(raw, np.float64)
    length = float(np.sqrt(values @ values))
    if not np.isfinite(length):
        return "not_finite"
    if length == 0.0:
        return "zero_vector"
    return Vector((values / length).astype(np.float32), cut)
