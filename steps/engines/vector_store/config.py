"""Which library finds the nearest vectors, and how exactly."""

from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from steps.contracts.reports import Frozen


class VectorStoreConfig(Frozen):
    """How the most similar of many vectors are found."""

    backend: Literal["faiss", "qdrant"] = Field(
        "faiss", description="faiss: in this process; qdrant: its embedded mode, or the server at qdrant_url"
    )
    # Measured (benchmarks/bench_semantic.py) up to 200,000 vectors: there comparing all with all costs 0.6 of HNSW's
    # CPU, 1.6 of IVF's, and a thirtieth of the embedding; its time grows faster than theirs.
    exact_up_to: int = Field(
        200_000, ge=0, description="faiss: up to so many vectors every one is compared with every one"
    )
    above: Literal["hnsw", "ivf"] = Field("hnsw", description="faiss: the approximate index for more vectors than that")
    # 32 links: FAISS's own default. 200 and 128: chosen; with them the benchmark measures the recall in its table.
    hnsw_links: int = Field(32, ge=4, le=128, description="links per vector in the HNSW graph")
    hnsw_build: int = Field(200, ge=8, description="candidates looked at while the graph is built (efConstruction)")
    hnsw_search: int = Field(128, ge=8, description="candidates looked at per search (efSearch)")
    ivf_lists: int | None = Field(
        None, ge=1, description="clusters; None: 4 times the square root of the number of vectors"
    )
    ivf_probes: int = Field(32, ge=1, description="clusters looked at per search")
    seed: int = Field(1, ge=0, lt=2**31, description="seed of the clusters (ivf)")
    qdrant_url: str | None = Field(None, description="a Qdrant server; None: embedded, in memory")
    qdrant_key_env: str | None = Field(None, description="environment variable that holds the server's API key")

    @model_validator(mode="after")
    def _server(self) -> Self:
        if self.qdrant_url is None:
            return self
        parts = urlsplit(self.qdrant_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"qdrant_url {self.qdrant_url!r} is no http(s) address such as http://127.0.0.1:6333")
        if parts.username or parts.password:
            raise ValueError("qdrant_url holds a user name or password: name the key's variable in qdrant_key_env")
        if self.backend != "qdrant":
            raise ValueError("qdrant_url is set, but backend is faiss: set backend: qdrant, or remove the address")
        return self
