"""The scrub step."""

from typing import Annotated, NamedTuple

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.dataset import Dataset
from steps.contracts.ledger import Ledger
from steps.contracts.reports import StageReport
from steps.contracts.row_cache import RowCache
from steps.scrub.config import ScrubConfig
from steps.zenml_runtime.context import shares_of_run, stage_context
from steps.zenml_runtime.outputs import outputs
from steps.zenml_runtime.step import assay_step, cache_key


class ScrubOutputs(NamedTuple):
    """The outputs."""

    rows: Annotated[Dataset, "scrubbed"]
    quarantined: Annotated[Dataset, "scrub_quarantined"]
    ledger: Annotated[Ledger, "scrub_ledger"]
    report: Annotated[StageReport, "scrub_report"]
    row_cache: Annotated[RowCache, "scrub_row_cache"]


def key() -> str:
    """Cache key of this step."""
    # faker's lists decide surrogates, detect-secrets' filters what is a random string, zipcodes what a town's code.
    patterns = ["detect-secrets", "faker", "google-re2", "phonenumbers", "presidio-analyzer", "tldextract", "zipcodes"]
    return cache_key(__name__, [*patterns, "gliner", "spacy", "transformers"])


@assay_step(key, unscrubbed=True)
def scrub_step(rows: Dataset, config: ScrubConfig, key_id: str) -> ScrubOutputs:
    """Replace personal data by pseudonyms. `key_id` names the key and files read, so that others re-run the step."""
    from steps.scrub.scrub import scrub

    ctx = stage_context("scrub", key(), key_id=key_id, shares=shares_of_run("scrub"))
    return outputs(ScrubOutputs, scrub(rows, config, ctx))


@assay_step(key)
def scrub_share_step(
    rows: Dataset, config: ScrubConfig, key_id: str, number: int, of: int
) -> Annotated[RowCache, "scrub_share_row_cache"]:
    """What `scrub_step` would find in every `of`th row from row `number` on, computed by a step of its own."""
    from steps.engines.rowwise.share import Share
    from steps.scrub.scrub import scrub_share

    return scrub_share(rows, config, stage_context("scrub", key(), key_id=key_id), Share(number, of))
