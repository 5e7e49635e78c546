"""The semantic step."""

from typing import Annotated, NamedTuple

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.dataset import Dataset
from steps.contracts.embeddings import CachedEmbeddings
from steps.contracts.ledger import Ledger
from steps.contracts.reports import StageReport
from steps.engines.embed.config import CACHE
from steps.semantic.config import SemanticConfig
from steps.zenml_runtime.context import stage_context
from steps.zenml_runtime.outputs import outputs
from steps.zenml_runtime.step import assay_step, cache_key


class SemanticOutputs(NamedTuple):
    """The outputs."""

    rows: Annotated[Dataset, "semantic"]
    quarantined: Annotated[Dataset, "semantic_quarantined"]
    ledger: Annotated[Ledger, "semantic_ledger"]
    report: Annotated[StageReport, "semantic_report"]
    embeddings: Annotated[CachedEmbeddings, "semantic_embeddings"]


def key() -> str:
    """Cache key of this step."""
    return cache_key(
        __name__,
        ["faiss-cpu", "aiohttp", "numpy", "qdrant-client", "sentence-transformers", "tokenizers", "torch",
         "transformers"],
    )  # fmt: skip


@assay_step(key)
def semantic_step(
    rows: Dataset, config: SemanticConfig, scrubbed: bool, inputs: dict[str, str], keep: bool
) -> SemanticOutputs:
    """Drop rows that mean the same as a kept row. `inputs`: digests of the models, for the cache key; `keep`: keep the
    embeddings for a later run.
    """
    from steps.semantic.semantic import semantic

    ctx = stage_context("semantic", key(), cache=CACHE, scrubbed=scrubbed, inputs=inputs, keep=keep)
    return outputs(SemanticOutputs, semantic(rows, config, ctx))
