"""The leakcheck step."""

from typing import Annotated

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.ledger import Ledger
from steps.contracts.reports import StageReport
from steps.leakcheck.config import LeakCheckConfig
from steps.zenml_runtime.context import source_root
from steps.zenml_runtime.state import workspace
from steps.zenml_runtime.step import assay_step, cache_key


def key() -> str:
    """Cache key of this step."""
    return cache_key(__name__, ["numba", "numpy", "pyarrow"])


@assay_step(key)
def leakcheck_step(
    rows: Dataset, config: LeakCheckConfig, inputs: dict[str, str], scrubbed: bool
) -> tuple[
    Annotated[Dataset, "curated"],
    Annotated[Ledger, "leakcheck_ledger"],
    Annotated[StageReport, "leakcheck_report"],
]:
    """Remove train rows that a test row or benchmark repeats. `inputs` holds the digests of the benchmark files.

    Matched passages are shown only when personal data was removed before.
    """
    from steps.leakcheck.leakcheck import leakcheck

    outcome = leakcheck(rows, config, StageContext(workspace("leakcheck"), source_root(), scrubbed=scrubbed))
    return outcome.rows, outcome.ledger, outcome.report
