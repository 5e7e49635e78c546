"""The review step."""

from typing import Annotated

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.ledger import Ledger
from steps.contracts.reports import StageReport
from steps.review.config import ReviewConfig
from steps.zenml_runtime.context import source_root
from steps.zenml_runtime.state import workspace
from steps.zenml_runtime.step import assay_step, cache_key


def key() -> str:
    """Cache key of this step."""
    return cache_key(__name__, [])


@assay_step(key)
def review_step(
    rows: Dataset, aside: list[Dataset], config: ReviewConfig, digests: dict[str, str], search: str
) -> tuple[
    Annotated[Dataset, "reviewed"],
    Annotated[Ledger, "review_ledger"],
    Annotated[StageReport, "review_report"],
]:
    """Apply human decisions. `digests` (of their files) are in the cache key; `search`: see `review`."""
    from steps.review.review import review

    ctx = StageContext(workspace("review"), source_root(), search=search, aside=aside)
    outcome = review(rows, config, ctx)
    return outcome.rows, outcome.ledger, outcome.report
