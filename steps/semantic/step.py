"""The semantic step."""

from typing import Annotated

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.dataset import Dataset
from steps.contracts.ledger import Ledger
from steps.contracts.reports import StageReport
from steps.contracts.vectors import KeptVectors
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
    dataset: Dataset, config: SemanticConfig, scrubbed: bool, models: dict[str, str], keep_vectors: bool
) -> tuple[
    Annotated[Dataset, "semantic"],
    Annotated[Dataset, "semantic_quarantined"],
    Annotated[Ledger, "semantic_ledger"],
    Annotated[StageReport, "semantic_report"],
    Annotated[KeptVectors, "semantic_vectors"],
]:
    """Drop rows that mean the same as a kept row. `models`: digests of the models it uses, for the cache key.
    `keep_vectors`: keep the embeddings for a later run.
    """
    from steps.semantic.semantic import semantic

    folder, cache = workspace("semantic"), state_folder() / "embeddings"
    known = earlier("semantic_vectors")
    outcome = semantic(
        dataset, config, folder, cache, root=source_root(), scrubbed=scrubbed, earlier=known, keep=keep_vectors
    )
    return outcome.dataset, outcome.set_aside, outcome.ledger, outcome.report, outcome.vectors
