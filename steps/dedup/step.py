"""The dedup step."""

from typing import Annotated

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.index import DedupIndex
from steps.contracts.ledger import Ledger
from steps.contracts.reports import StageReport
from steps.dedup.config import DedupConfig
from steps.zenml_runtime.context import earlier
from steps.zenml_runtime.state import workspace
from steps.zenml_runtime.step import assay_step, cache_key


def key() -> str:
    """Cache key of this step."""
    return cache_key(__name__, ["datasketch", "numba", "numpy"])


@assay_step(key)
def dedup_step(
    rows: Dataset, config: DedupConfig, keep: bool
) -> tuple[
    Annotated[Dataset, "deduped"],
    Annotated[Ledger, "dedup_ledger"],
    Annotated[StageReport, "dedup_report"],
    Annotated[DedupIndex, "dedup_index"],
]:
    """Remove exact and near duplicates. `keep`: keep what a later run needs to look at new rows only."""
    from steps.dedup.dedup import dedup

    known = {"dedup_index": earlier("dedup_index")}
    outcome = dedup(rows, config, StageContext(workspace("dedup"), earlier=known, code=key(), keep=keep))
    return outcome.rows, outcome.ledger, outcome.report, outcome.artifacts["dedup_index"]
