"""The dedup step."""

from typing import Annotated

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.dataset import Dataset
from steps.contracts.ledger import Ledger
from steps.contracts.reports import StageReport
from steps.dedup.config import DedupConfig
from steps.zenml_runtime import assay_step, cache_key, workspace


def key() -> str:
    """Cache key of this step."""
    return cache_key(__name__, ["datasketch", "numpy"])


@assay_step(key)
def dedup_step(
    dataset: Dataset, config: DedupConfig
) -> tuple[
    Annotated[Dataset, "deduped"],
    Annotated[Ledger, "dedup_ledger"],
    Annotated[StageReport, "dedup_report"],
]:
    """Remove exact and near duplicates."""
    from steps.dedup.dedup import dedup

    outcome = dedup(dataset, config, workspace("dedup"))
    return outcome.dataset, outcome.ledger, outcome.report
