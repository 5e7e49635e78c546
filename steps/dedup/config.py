"""Settings of the dedup stage."""

from typing import Literal, TypeAlias

from pydantic import Field

from steps.contracts.reports import Frozen
from steps.engines.minhash.banding import MOST_BANDS, MOST_ROWS, Banding, banding
from steps.engines.minhash.signatures import Backend

Symbols: TypeAlias = bool | Literal["code"]


class DedupConfig(Frozen):
    """Which rows count as copies of each other. Rows are compared with rows of their own kind only."""

    compare: Literal["all", "prompt", "answer"] = Field(
        "all",
        description="What of a row is compared: everything, the prompt, or the answers. Documents: always the text.",
    )
    symbols: Symbols = Field(
        "code",
        description=(
            "Count punctuation, operators and steps of indentation as tokens too: of every row (true), of none (false),"
            " or of code and formulas (code), which are known by ``` fences, by a language in meta, or by their signs."
        ),
    )
    near: bool = Field(True, description="Also drop near duplicates; false: exact duplicates only.")
    # 0.7: chosen, between the 0.8 of Lee et al. 2022 (arXiv 2107.06499, edit similarity) and looser web settings.
    threshold: float = Field(
        0.7, gt=0.0, le=1.0, description="Jaccard similarity of shingle sets from which a row is a near duplicate."
    )
    # 5 words as in Lee et al. 2022; 3 for instruction rows, whose texts are short (chosen).
    ngram_documents: int = Field(5, ge=1, le=50, description="Words per shingle in documents.")
    ngram_messages: int = Field(3, ge=1, le=50, description="Words per shingle in conversations and preferences.")
    bands: int | None = Field(
        None,
        ge=1,
        le=MOST_BANDS,
        description="Bands of the MinHash signature; None: by the threshold, so that under 0.1 % of the pairs above it"
        " are expected to be missed (25 at 0.7). More bands cost time, never precision.",
    )
    rows_per_band: int | None = Field(
        None, ge=1, le=MOST_ROWS, description="Signature values per band; None: by the threshold (5 at 0.7)."
    )
    # 256: chosen; without a cap, n rows of one template cost n^2 / 2 comparisons.
    max_comparisons: int = Field(
        256, ge=1, description="Exact comparisons per row at most; rows that reach it are counted in the report."
    )
    seed: int = Field(1, ge=0, lt=2**32, description="Seed of the MinHash permutations.")
    backend: Backend = Field(
        "numba", description="What computes the signatures; both give the same, datasketch some fifty times slower."
    )
    contradictions: Literal["flag", "keep_first", "drop_all"] = Field(
        "flag",
        description=(
            "Rows with the same prompt and different answers (preferences: the same pair the other way round), none of"
            " which is an exact duplicate of another: "
            "flag them, keep those that agree with the first by (batch, content id), or drop them all."
        ),
    )

    @property
    def banding(self) -> Banding:
        """Bands and signature values per band in force."""
        return banding(self.threshold, self.bands, self.rows_per_band)
