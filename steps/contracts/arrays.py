"""Arrays that have no name of their own: a truth value or a whole number per row. Shapes stand where they are used."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Mask: TypeAlias = npt.NDArray[np.bool_]
Numbers: TypeAlias = npt.NDArray[np.int64]
