"""The screen step."""

from typing import Annotated

import materializers.all  # noqa: F401 - says how the outputs are stored
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
    dataset: Dataset, config: ScreenConfig, scrubbed: bool, models: dict[str, str], keep_embeddings: bool
) -> tuple[
    Annotated[Dataset, "screened"],
    Annotated[Dataset, "screen_quarantined"],
    Annotated[Ledger, "screen_ledger"],
    Annotated[StageReport, "screen_report"],
    Annotated[RowCache, "screen_row_cache"],
    Annotated[CachedEmbeddings, "screen_embeddings"],
]:
    """Apply rules, and screen for unsafe and poisoned content. `models`: digests of the models, for the cache key.
    `keep_embeddings`: keep what models said for a later run.
    """
    from steps.screen.models import Place
    from steps.screen.screen import screen

    place = Place(
        root=source_root(), cache=state_folder() / "embeddings", scrubbed=scrubbed,
        earlier=earlier("screen_embeddings"), keep=keep_embeddings,
    )  # fmt: skip
    done = screen(dataset, config, workspace("screen"), row_cache=earlier("screen_row_cache"), code=key(), place=place)
    return done.dataset, done.set_aside, done.ledger, done.report, done.finished_row_cache, done.embeddings
