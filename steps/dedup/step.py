"""The dedup step."""

from typing import Annotated, NamedTuple

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.dataset import Dataset
from steps.contracts.dedup_index import DedupIndex
from steps.contracts.ledger import Ledger
from steps.contracts.reports import StageReport
from steps.dedup.config import DedupConfig
from steps.zenml_runtime.context import stage_context
from steps.zenml_runtime.outputs import outputs
from steps.zenml_runtime.step import assay_step, cache_key


class DedupOutputs(NamedTuple):
    """The outputs."""

    rows: Annotated[Dataset, "deduped"]
    ledger: Annotated[Ledger, "dedup_ledger"]
    report: Annotated[StageReport, "dedup_report"]
    dedup_index: Annotated[DedupIndex, "dedup_index"]


def key() -> str:
    """Cache key of this step."""
    return cache_key(__name__, ["datasketch", "numba", "numpy"])


@assay_step(key, unscrubbed=True)
def dedup_step(rows: Dataset, config: DedupConfig, keep: bool) -> DedupOutputs:
    """Remove exact and near duplicates. `keep`: keep what a later run needs to look at new rows only."""
    from steps.dedup.dedup import dedup

    return outputs(DedupOutputs, dedup(rows, config, stage_context("dedup", key(), keep=keep)))
