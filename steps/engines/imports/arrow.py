"""Arrow without pandas."""

import functools

import pyarrow as pa

from steps.engines.imports.absent import absent


@functools.cache
def leave_pandas() -> None:
    """Let Arrow not look for pandas when it makes an array from a list, as it does the first time: importing it
    measured 0.2 CPU seconds. Where a table is to become a DataFrame, Arrow looks again, and finds it.
    """
    with absent("pandas"):
        pa.array([0])
