"""Which rows of a table can hold anything to replace: one look at Arrow columns, without making Python rows.

The conditions are weaker than what the detectors ask for, so that rows without one have no findings; a test compares.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from steps.engines.fast_presidio.prefilter import Conditions
from steps.engines.rows.columns import rows_with
from steps.engines.scan.patterns import Pattern, PatternSet, texts_matching
from steps.engines.scan.visible import DISGUISED
from steps.scrub.readings import READ_OTHERWISE

# With DISGUISED, whatever `VisibleText` reads as something else: such texts are searched as they look.
_WIDE = Pattern("disguised", r"[\x{FF01}-\x{FF5E}]", ignore_case=False)


class Prescan:
    """The first look. `conditions` as of `detector.Detector`: with None every row is to be searched."""

    def __init__(self, conditions: Sequence[Sequence[str]] | None) -> None:
        self._every = conditions is None
        sets = [made for group in conditions or () for made in Conditions(group).sets]
        self._sets = [PatternSet([DISGUISED, _WIDE, *READ_OTHERWISE], "scrub"), *sets]

    def rows(self, table: pa.Table) -> npt.NDArray[np.bool_]:
        """Rows (SCHEMA) in which something may be found, shape (rows,)."""
        if self._every:
            return np.ones(len(table), bool)
        return rows_with(table, lambda texts: texts_matching(self._sets, texts), everything=True)
