"""Numba's `njit`, without what numba looks for at its start: SciPy for linear algebra, which no kernel here does, and
coverage. Measured, they are a quarter of what `assay stage` costs on a file of three rows.

Compiled kernels lie beside their source, or below NUMBA_CACHE_DIR where that is set: there by content, so that whoever
has the same source has them, wherever a step's code was unpacked to.
"""

import hashlib
from pathlib import Path
from typing import Any

from steps.engines.imports.absent import absent

with absent("scipy", "coverage"):
    # Numba imports it when the first kernel is loaded, and it asks for SciPy then.
    import numba.np.arraymath  # noqa: F401
    from numba import njit
    from numba.core import config
    from numba.core.caching import UserProvidedCacheLocator

__all__ = ["ByContent", "njit"]


class ByContent(UserProvidedCacheLocator):  # type: ignore[misc]
    """Where numba keeps what it compiled of a source file: numba's own place has the file's path in its name."""

    @classmethod
    def get_suitable_cache_subpath(cls, py_file: Any) -> str:
        """Name of the folder below NUMBA_CACHE_DIR."""
        path = Path(py_file)
        return f"{path.stem}-{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"


if not config.CACHE_LOCATOR_CLASSES:
    # In numba's own order; NUMBA_CACHE_LOCATOR_CLASSES names others.
    config.CACHE_LOCATOR_CLASSES = f"{__name__}.ByContent,InTreeCacheLocator,UserWideCacheLocator,IPythonCacheLocator"
