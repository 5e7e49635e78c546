"""The semantic step."""

from typing import Annotated

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.embeddings import CachedEmbeddings
from steps.contracts.ledger import Ledger
from steps.contracts.reports import StageReport
from steps.semantic.config import SemanticConfig
from steps.zenml_runtime.context import earlier, source_root
from steps.zenml_runtime.state import state_folder, workspace
from steps.zenml_runtime.step import assay_step, cache_key


def key() -> str:
    """Cache key of this step."""
    return cache_key(
        __name__,
        ["faiss-cpu", "numpy", "openai", "qdrant-client", "sentence-transformers", "tokenizers", "torch",
         "transformers"],
    )  # fmt: skip


@assay_step(key)
def semantic_step(
    rows: Dataset, config: SemanticConfig, scrubbed: bool, models: dict[str, str], keep: bool
) -> tuple[
    Annotated[Dataset, "semantic"],
    Annotated[Dataset, "semantic_quarantined"],
    Annotated[Ledger, "semantic_ledger"],
    Annotated[StageReport, "semantic_report"],
    Annotated[CachedEmbeddings, "semantic_embeddings"],
]:
    """Drop rows that mean the same as a kept row. `models`: digests of the models it uses, for the cache key.
    `keep`: keep the embeddings for a later run.
    """
    from steps.semantic.semantic import semantic

    ctx = StageContext(
        workspace("semantic"), source_root(), state_folder() / "embeddings", code=key(), scrubbed=scrubbed, keep=keep,
        earlier={"semantic_embeddings": earlier("semantic_embeddings")},
    )  # fmt: skip
    done = semantic(rows, config, ctx)
    return done.rows, done.set_aside, done.ledger, done.report, done.artifacts["semantic_embeddings"]
