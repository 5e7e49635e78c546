"""The dedup step."""

from typing import Annotated

import materializers.all  # noqa: F401 - says how the outputs are stored
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
    dataset: Dataset, config: DedupConfig, keep_index: bool
) -> tuple[
    Annotated[Dataset, "deduped"],
    Annotated[Ledger, "dedup_ledger"],
    Annotated[StageReport, "dedup_report"],
    Annotated[DedupIndex, "dedup_index"],
]:
    """Remove exact and near duplicates. `keep_index`: keep what a later run needs to look at new rows only."""
    from steps.dedup.follow import dedup_following

    outcome = dedup_following(dataset, config, workspace("dedup"), earlier("dedup_index"), keep_index, key())
    return outcome.dataset, outcome.ledger, outcome.report, outcome.indexed
