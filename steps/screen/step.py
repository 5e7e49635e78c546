"""The screen step."""

from typing import Annotated

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.embeddings import CachedEmbeddings
from steps.contracts.ledger import Ledger
from steps.contracts.reports import StageReport
from steps.contracts.row_cache import RowCache
from steps.screen.config import ScreenConfig
from steps.zenml_runtime.context import earlier, source_root
from steps.zenml_runtime.state import state_folder, workspace
from steps.zenml_runtime.step import assay_step, cache_key


def key() -> str:
    """Cache key of this step."""
    return cache_key(
        __name__,
        ["faiss-cpu", "google-re2", "numba", "numpy", "openai", "py3langid", "sentence-transformers", "tokenizers",
         "torch", "transformers"],
    )  # fmt: skip


@assay_step(key)
def screen_step(
    rows: Dataset, config: ScreenConfig, scrubbed: bool, models: dict[str, str], keep: bool
) -> tuple[
    Annotated[Dataset, "screened"],
    Annotated[Dataset, "screen_quarantined"],
    Annotated[Ledger, "screen_ledger"],
    Annotated[StageReport, "screen_report"],
    Annotated[RowCache, "screen_row_cache"],
    Annotated[CachedEmbeddings, "screen_embeddings"],
]:
    """Apply rules, and screen for unsafe and poisoned content. `models`: digests of the models, for the cache key.
    `keep`: keep what models found for a later run.
    """
    from steps.screen.screen import screen

    ctx = StageContext(
        workspace("screen"), source_root(), state_folder() / "embeddings", code=key(), scrubbed=scrubbed, keep=keep,
        earlier={name: earlier(name) for name in ("screen_row_cache", "screen_embeddings")},
    )  # fmt: skip
    done = screen(rows, config, ctx)
    made = done.artifacts
    return done.rows, done.set_aside, done.ledger, done.report, made["screen_row_cache"], made["screen_embeddings"]
