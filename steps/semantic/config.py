"""Settings of the semantic stage."""

from typing import Literal

from pydantic import Field

from steps.contracts.reports import Frozen
from steps.engines.embed.config import CrossEncoderConfig, EmbedConfig
from steps.engines.rowwise.undecided import UndecidedPolicy
from steps.engines.text.parts import Part
from steps.engines.vector_store.config import VectorStoreConfig


class PairModelConfig(CrossEncoderConfig):
    """A cross-encoder that says whether two texts say the same."""

    threshold: float = Field(
        description="a pair counts from this score on, in both orders of the two texts; its scale is the model's"
    )


class SemanticConfig(Frozen):
    """Which rows say the same in other words. Rows are compared with rows of their own kind only."""

    embed: EmbedConfig = Field(description="the model that turns texts into vectors")
    neighbours: VectorStoreConfig = Field(VectorStoreConfig(), description="where nearest embeddings are found")
    compare: Part = Field(
        "all",
        description="What of a row is compared: everything, the prompt, or the answers. Documents: always the text.",
    )
    # 0.95: chosen for precision. SemDeDup (Abbas et al. 2023, arXiv 2303.09540) drops above 1 - eps and sets eps per
    # model and by the share to remove: the number has no meaning without the model.
    threshold: float = Field(
        0.95, gt=0.0, le=1.0, description="cosine from which two rows say the same; depends on the model: calibrate it"
    )
    max_neighbours: int = Field(
        16, ge=1, le=1000, description="most similar kept rows that a row is compared with; matters for rerank only"
    )
    rerank: PairModelConfig | None = Field(
        None, description="a second model that must agree on each pair; None: the cosine alone decides"
    )
    first_pass: Literal["bfloat16", "none"] = Field(
        "bfloat16",
        description=(
            "bfloat16: read all texts in bfloat16 first, and in full those that may be near another one; on processors"
            " that have it, from 512 rows on, by a model on this machine. none: read all texts in full"
        ),
    )
    cut_texts: Literal["keep", "compare"] = Field(
        "keep", description="rows of which the model reads the beginning only: keep them, or compare what was read"
    )
    undecided: UndecidedPolicy = Field("keep", description="what happens to a row whose text could not be embedded")
    # Chosen, as for the judge: when one row in five has no vector, the model is broken rather than the rows.
    max_undecided_share: float = Field(
        0.2, ge=0, le=1, description="rows that could not be embedded / rows in; above it the stage fails"
    )
    keep_embeddings: bool = Field(
        True,
        description=(
            "keep vectors by text digest in the state folder, and with `reuse` as an artifact, so that a later run"
            " embeds new texts only"
        ),
    )
    allow_raw_egress: bool = Field(
        False, description="let rows that were not scrubbed, or their vectors, go to another machine"
    )

    def models(self) -> tuple[tuple[str, str | None], ...]:
        """Models on this machine or on the hub: name and revision."""
        embed = () if self.embed.model is None else ((self.embed.model, self.embed.revision),)
        return (*embed, *(() if self.rerank is None else ((self.rerank.model, self.rerank.revision),)))
