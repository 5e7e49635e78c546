"""What passages are looked up in, and how."""

from pydantic import Field

from steps.contracts.reports import Frozen
from steps.engines.chunking.config import ChunkConfig
from steps.engines.embed.config import CrossEncoderConfig, EmbedConfig
from steps.engines.vector_store.config import VectorStoreConfig

# What stands for the dataset's own train rows.
TRAIN = "train"


class RetrievalConfig(Frozen):
    """Passages that are looked up for a question: by the words that they share with it, or by their meaning."""

    documents: str = Field(
        TRAIN,
        description="train: the dataset's train rows, each question with its answer; else a .txt, .md, .html or .jsonl"
        ' ({"text": ...}) file, or a folder of such, relative to the project root',
    )
    # Chosen: three passages of it fit a context of 1,024 tokens beside a question and its answer.
    chunk: ChunkConfig = Field(ChunkConfig(max_tokens=256), description="how documents are cut; train rows stay whole")
    embed: EmbedConfig | None = Field(
        None, description="the model whose vectors are compared; null: shared words by BM25, without a model"
    )
    store: VectorStoreConfig = Field(
        VectorStoreConfig(), description="what finds the nearest vectors; with `embed` only"
    )
    rerank: CrossEncoderConfig | None = Field(
        None, description="a model that reads question and passage together and puts the best first; null: none does"
    )
    # Chosen: what is right but not among the first 20 by words or vectors is seldom found by reading on.
    candidates: int = Field(20, ge=2, le=1_000, description="passages per question that `rerank` reads")
