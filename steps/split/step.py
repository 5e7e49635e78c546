"""The split step."""

from typing import Annotated, NamedTuple

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.dataset import Dataset
from steps.contracts.ledger import Ledger
from steps.contracts.reports import StageReport
from steps.split.config import SplitConfig
from steps.zenml_runtime.context import stage_context
from steps.zenml_runtime.outputs import outputs
from steps.zenml_runtime.step import assay_step, cache_key


class SplitOutputs(NamedTuple):
    """The outputs."""

    rows: Annotated[Dataset, "split"]
    ledger: Annotated[Ledger, "split_ledger"]
    report: Annotated[StageReport, "split_report"]


def key() -> str:
    """Cache key of this step."""
    return cache_key(__name__, [])


@assay_step(key, unscrubbed=True)
def split_step(rows: Dataset, config: SplitConfig) -> SplitOutputs:
    """Label every row train, validation or test."""
    from steps.split.split import split

    return outputs(SplitOutputs, split(rows, config, stage_context("split", key())))
