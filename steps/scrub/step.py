"""The scrub step."""

from typing import Annotated

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.ledger import Ledger
from steps.contracts.reports import StageReport
from steps.contracts.row_cache import RowCache
from steps.scrub.config import ScrubConfig
from steps.zenml_runtime.context import earlier, source_root
from steps.zenml_runtime.state import workspace
from steps.zenml_runtime.step import assay_step, cache_key


def key() -> str:
    """Cache key of this step."""
    # faker's lists decide surrogates, detect-secrets' filters what is a random string, zipcodes what a town's code.
    patterns = ["detect-secrets", "faker", "google-re2", "phonenumbers", "presidio-analyzer", "tldextract", "zipcodes"]
    return cache_key(__name__, [*patterns, "gliner", "spacy", "transformers"])


@assay_step(key)
def scrub_step(
    rows: Dataset, config: ScrubConfig, key_id: str
) -> tuple[
    Annotated[Dataset, "scrubbed"],
    Annotated[Dataset, "scrub_quarantined"],
    Annotated[Ledger, "scrub_ledger"],
    Annotated[StageReport, "scrub_report"],
    Annotated[RowCache, "scrub_row_cache"],
]:
    """Replace personal data by pseudonyms. `key_id` names the key and files read, so that others re-run the step."""
    from steps.scrub.scrub import scrub

    known = {"scrub_row_cache": earlier("scrub_row_cache")}
    ctx = StageContext(workspace("scrub"), source_root(), earlier=known, code=key(), key_id=key_id)
    done = scrub(rows, config, ctx)
    return done.rows, done.set_aside, done.ledger, done.report, done.artifacts["scrub_row_cache"]
