"""Settings of the augment stage."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from steps.contracts.reports import Frozen
from steps.engines.embed.config import EmbedConfig
from steps.engines.llm.endpoint import Endpoint
from steps.engines.llm.priced import Asking, PricedEndpoint
from steps.engines.llm.prices import Prices

# Folder below the state folder: replies that were paid for.
CACHE = "augment"


class _Share(Frozen):
    share: float = Field(1.0, gt=0, le=1, description="share of the rows that it is done with, by a hash of their ids")


class Paraphrase(_Share):
    """The question in other words, `per_row` times; the answer stays."""

    kind: Literal["paraphrase"] = Field("paraphrase", description="which method this is")
    per_row: int = Field(1, ge=1, le=10, description="paraphrases of a row")


class BackTranslation(_Share):
    """The question translated and translated back; the answer stays."""

    kind: Literal["back_translation"] = Field("back_translation", description="which method this is")
    through: tuple[str, ...] = Field(("German",), min_length=1, description="languages, each of which gives a row")


class Evolve(_Share):
    """A question that is made of this one, and the teacher's answer (Evol-Instruct: Xu et al. 2023)."""

    kind: Literal["evolve"] = Field("evolve", description="which method this is")
    how: tuple[Literal["harder", "longer", "other_format"], ...] = Field(
        ("harder",), min_length=1, description="what the new question is, each of which gives a row"
    )


class Persona(_Share):
    """The question as somebody else would ask it, and the teacher's answer to them."""

    kind: Literal["persona"] = Field("persona", description="which method this is")
    personas: tuple[str, ...] = Field(min_length=1, description="who asks, in a few words each; each gives a row")


class SelfInstruct(Frozen):
    """New tasks after the example of the rows, and the teacher's answers (Self-Instruct: Wang et al. 2023)."""

    kind: Literal["self_instruct"] = Field("self_instruct", description="which method this is")
    requests: int = Field(100, ge=1, description="requests, each with other rows as examples")
    # The paper shows eight and asks for as many as fit.
    seeds: int = Field(8, ge=1, le=50, description="rows shown in a request")
    tasks: int = Field(4, ge=1, le=20, description="tasks asked for in a request")


class Distill(_Share):
    """The teacher's answer to the row's prompt."""

    kind: Literal["distill"] = Field("distill", description="which method this is")
    reasoning: Literal["keep", "drop"] = Field("drop", description="what becomes of the teacher's reasoning")
    replace: bool = Field(True, description="whether the row itself goes")


Method: TypeAlias = Annotated[
    Paraphrase | BackTranslation | Evolve | Persona | SelfInstruct | Distill, Field(discriminator="kind")
]


class DiversityConfig(Frozen):
    """How alike what is made may be; above it the stage fails, since a model trained on it learns a few phrases."""

    # Chosen: questions of one subject share phrases; at 0.9 nearly every 4-gram stands in another question.
    max_self_bleu: float = Field(
        0.9, gt=0, le=1, description="mean BLEU of a made question against all others of its method"
    )
    # Chosen: half of what natural questions of the same rows have.
    min_distinct_2_ratio: float = Field(
        0.5, ge=0, description="distinct pairs of words of what is made / of as much of the rows' own questions"
    )
    # Chosen: a method that says the same again in half of its replies makes nothing new.
    max_repeated: float = Field(
        0.5, ge=0, le=1, description="share of a method's questions that repeat one of the rows, or each other"
    )
    embed: EmbedConfig | None = Field(None, description="also measure the spread of embeddings, by this model")
    min_spread: float = Field(
        0.0, ge=0, le=2, description="mean cosine distance of what is made, below which the stage fails; needs `embed`"
    )
    min_rows: int = Field(20, ge=2, description="fewer made rows of a method are measured, and never refused")


class AugmentConfig(Asking, Prices):
    """Further rows made of those that train, by a model."""

    endpoint: Endpoint | None = Field(None, description="where the model is served that writes; needed")
    teacher: PricedEndpoint | None = Field(None, description="the model that answers; None: the one that writes")
    methods: tuple[Method, ...] = Field((), description="what is done, by `kind`; needed")
    # Chosen: as synthesize has it.
    similarity: float = Field(
        0.85, gt=0, le=1, description="Jaccard similarity of two questions' words from which the later one is dropped"
    )
    diversity: DiversityConfig = Field(DiversityConfig(), description="how alike what is made may be")
    instructions: str = Field("", max_length=4000, description="what matters in these rows, added to the orders")

    @property
    def models(self) -> Sequence[tuple[str, str | None]]:
        """Names and revisions of the models that are loaded here."""
        embed = self.diversity.embed
        return [(embed.model, embed.revision)] if embed is not None and embed.model is not None else []

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.endpoint is None:
            raise ValueError("rows are made by a model, and none is named: set endpoint.base_url and endpoint.model")
        if not self.methods:
            raise ValueError("methods is empty: name one, such as {kind: paraphrase}")
        kinds = [m.kind for m in self.methods]
        if len(set(kinds)) < len(kinds):
            raise ValueError("methods: each kind stands there once")
        if self.diversity.min_spread and self.diversity.embed is None:
            raise ValueError("diversity.min_spread needs diversity.embed: name an embedding model")
        return self
