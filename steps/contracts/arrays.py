"""Arrays that have no name of their own: a truth value, a whole number or a vector per row. Shapes stand where they
are used. And a column of a table as one array.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Mask: TypeAlias = npt.NDArray[np.bool_]
Numbers: TypeAlias = npt.NDArray[np.int64]
Vectors: TypeAlias = npt.NDArray[np.float32]


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """A column of any number of chunks, also of none, as one array."""
    whole = column.combine_chunks()
    return pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole
