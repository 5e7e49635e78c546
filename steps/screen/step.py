"""The screen step."""

from typing import Annotated

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.dataset import Dataset
from steps.contracts.ledger import Ledger
from steps.contracts.memory import Memory
from steps.contracts.reports import StageReport
from steps.screen.config import ScreenConfig
from steps.zenml_runtime import assay_step, cache_key, earlier, workspace


def key() -> str:
    """Cache key of this step."""
    return cache_key(__name__, ["google-re2", "py3langid"])


@assay_step(key)
def screen_step(
    dataset: Dataset, config: ScreenConfig
) -> tuple[
    Annotated[Dataset, "screened"],
    Annotated[Dataset, "screen_quarantined"],
    Annotated[Ledger, "screen_ledger"],
    Annotated[StageReport, "screen_report"],
    Annotated[Memory, "screen_memory"],
]:
    """Apply rules and screen for unsafe and poisoned content."""
    from steps.screen.screen import screen

    outcome = screen(dataset, config, workspace("screen"), memory=earlier("screen_memory"), code=key())
    return outcome.dataset, outcome.set_aside, outcome.ledger, outcome.report, outcome.remembered
