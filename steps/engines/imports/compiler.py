"""Numba's `njit`, without what numba looks for at its start: SciPy for linear algebra, which no kernel here does, and
coverage. Measured, they are a quarter of what `assay stage` costs on a file of three rows.
"""

from steps.engines.imports.absent import absent

with absent("scipy", "coverage"):
    # Numba imports it when the first kernel is loaded, and it asks for SciPy then.
    import numba.np.arraymath  # noqa: F401
    from numba import njit

__all__ = ["njit"]
