"""The review step."""

from typing import Annotated, NamedTuple

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.dataset import Dataset
from steps.contracts.ledger import Ledger
from steps.contracts.reports import StageReport
from steps.review.config import ReviewConfig
from steps.zenml_runtime.context import stage_context
from steps.zenml_runtime.outputs import outputs
from steps.zenml_runtime.step import assay_step, cache_key


class ReviewOutputs(NamedTuple):
    """The outputs."""

    rows: Annotated[Dataset, "reviewed"]
    ledger: Annotated[Ledger, "review_ledger"]
    report: Annotated[StageReport, "review_report"]


def key() -> str:
    """Cache key of this step."""
    return cache_key(__name__, [])


@assay_step(key)
def review_step(
    rows: Dataset, quarantined: list[Dataset], config: ReviewConfig, inputs: dict[str, str], search: str
) -> ReviewOutputs:
    """Apply human decisions. `inputs`: digests of their files; `search`: what is looked for in this run."""
    from steps.review.review import review

    ctx = stage_context("review", key(), quarantined=quarantined, inputs=inputs, search=search)
    return outputs(ReviewOutputs, review(rows, config, ctx))
