"""Texts of many rows as one buffer, as Arrow stores them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from steps.contracts.arrays import Mask, Numbers

Bytes = npt.NDArray[np.uint8]

_NOTHING = np.zeros(1, np.uint8)


@dataclass(frozen=True)
class Strings:
    """n texts: text i is the bytes data[ends[i]:ends[i + 1]]; ends: int64, shape (n + 1,)."""

    data: Bytes
    ends: Numbers

    def __len__(self) -> int:
        return len(self.ends) - 1

    @classmethod
    def of(cls, array: pa.Array) -> Self:
        """Those of an Arrow string array, nothing copied; what stands where it is null means nothing."""
        wide = pa.types.is_large_string(array.type)
        _, ends, data = array.buffers()
        offsets = np.frombuffer(ends, np.int64 if wide else np.int32) if ends is not None else np.zeros(1, np.int32)
        here = offsets[array.offset : array.offset + len(array) + 1].astype(np.int64)
        return cls(np.frombuffer(data, np.uint8) if data is not None and data.size else _NOTHING, here)

    @classmethod
    def from_texts(cls, texts: Sequence[str]) -> Self:
        """Those of Python strings."""
        return cls.of(pa.array(texts, pa.string()))

    @property
    def sizes(self) -> Numbers:
        """Bytes of each, shape (n,)."""
        return np.diff(self.ends)

    def arrow(self) -> pa.Array:
        """As an Arrow array, the text not copied."""
        return pa.StringArray.from_buffers(len(self), pa.py_buffer(self.ends.astype(np.int32)), pa.py_buffer(self.data))


def fixed(data: Bytes, width: int) -> pa.Array:
    """Texts of `width` bytes each."""
    ends = np.arange(0, len(data) + 1, width, dtype=np.int32)
    return pa.StringArray.from_buffers(len(ends) - 1, pa.py_buffer(ends), pa.py_buffer(data))


def any_between(marks: Mask, ends: Numbers) -> Mask:
    """Whether any of marks[ends[i]:ends[i + 1]] is set, shape (n,)."""
    before = np.concatenate(([0], np.cumsum(marks)))
    return np.asarray(before[ends[1:]] > before[ends[:-1]])


def offsets(sizes: Numbers) -> Numbers:
    """Ends of pieces of these sizes that follow each other, shape (n + 1,)."""
    out = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=out[1:])
    return out
