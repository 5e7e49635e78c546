"""The split step."""

from typing import Annotated

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.ledger import Ledger
from steps.contracts.reports import StageReport
from steps.split.config import SplitConfig
from steps.zenml_runtime.state import workspace
from steps.zenml_runtime.step import assay_step, cache_key


def key() -> str:
    """Cache key of this step."""
    return cache_key(__name__, [])


@assay_step(key)
def split_step(
    rows: Dataset, config: SplitConfig
) -> tuple[
    Annotated[Dataset, "split"],
    Annotated[Ledger, "split_ledger"],
    Annotated[StageReport, "split_report"],
]:
    """Label every row train, validation or test."""
    from steps.split.split import split

    outcome = split(rows, config, StageContext(workspace("split")))
    return outcome.rows, outcome.ledger, outcome.report
