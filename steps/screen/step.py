"""The screen step."""

from typing import Annotated, NamedTuple

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.dataset import Dataset
from steps.contracts.embeddings import CachedEmbeddings
from steps.contracts.ledger import Ledger
from steps.contracts.reports import StageReport
from steps.contracts.row_cache import RowCache
from steps.engines.embed.config import CACHE
from steps.screen.config import ScreenConfig
from steps.zenml_runtime.context import shares_of_run, stage_context
from steps.zenml_runtime.outputs import outputs
from steps.zenml_runtime.step import assay_step, cache_key


class ScreenOutputs(NamedTuple):
    """The outputs."""

    rows: Annotated[Dataset, "screened"]
    quarantined: Annotated[Dataset, "screen_quarantined"]
    ledger: Annotated[Ledger, "screen_ledger"]
    report: Annotated[StageReport, "screen_report"]
    row_cache: Annotated[RowCache, "screen_row_cache"]
    embeddings: Annotated[CachedEmbeddings, "screen_embeddings"]


def key() -> str:
    """Cache key of this step."""
    return cache_key(
        __name__,
        ["faiss-cpu", "google-re2", "numba", "aiohttp", "numpy", "py3langid", "sentence-transformers", "tokenizers",
         "torch", "transformers"],
    )  # fmt: skip


@assay_step(key)
def screen_step(
    rows: Dataset, config: ScreenConfig, scrubbed: bool, inputs: dict[str, str], keep: bool
) -> ScreenOutputs:
    """Apply rules, and screen for unsafe and poisoned content. `inputs`: digests of the models and files, for the cache
    key; `keep`: keep what models found for a later run.
    """
    from steps.screen.screen import screen

    given = {"scrubbed": scrubbed, "inputs": inputs, "keep": keep, "shares": shares_of_run("screen")}
    return outputs(ScreenOutputs, screen(rows, config, stage_context("screen", key(), cache=CACHE, **given)))


@assay_step(key)
def screen_share_step(
    rows: Dataset, config: ScreenConfig, number: int, of: int
) -> Annotated[RowCache, "screen_share_row_cache"]:
    """What `screen_step`'s rules would say of every `of`th row from row `number` on, by a step of its own."""
    from steps.engines.rowwise.share import Share
    from steps.screen.screen import screen_share

    return screen_share(rows, config, stage_context("screen", key()), Share(number, of))
