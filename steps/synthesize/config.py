"""Settings of the synthesize stage."""

from collections.abc import Sequence
from typing import Literal, Self, TypeAlias, get_args

from pydantic import Field, model_validator

from steps.contracts.reports import Frozen
from steps.engines.chunking.config import ChunkConfig
from steps.engines.llm.endpoint import Endpoint
from steps.engines.llm.priced import Asking, PricedEndpoint
from steps.engines.llm.prices import Prices

# Folder below the state folder: replies that were paid for.
CACHE = "synthesize"
PairKind: TypeAlias = Literal["fact", "how_to", "comparison", "where", "multi_hop", "unanswerable"]
# Chosen: fewer words hold nothing that is worth a question.
_LEAST_WORDS = 12


class Kinds(Frozen):
    """How many pairs of a kind a chunk is asked for; 0: none. A chunk may give fewer."""

    # Chosen: a chunk of 512 tokens holds a handful of facts, and rarely more than one of the others.
    fact: int = Field(2, ge=0, le=20, description="what the document says")
    how_to: int = Field(1, ge=0, le=20, description="how something is done, in its steps")
    comparison: int = Field(1, ge=0, le=20, description="how two things differ")
    where: int = Field(
        1, ge=0, le=20, description="where something is found; answered with the document's URL, if it has one"
    )
    multi_hop: int = Field(1, ge=0, le=20, description="what only two chunks of one document answer together")
    unanswerable: int = Field(
        1, ge=0, le=20, description="what the document doesn't say; answered by saying so, with the chunk before it"
    )

    def wanted(self) -> dict[PairKind, int]:
        """Kinds that are asked for, and how many pairs of each."""
        return {kind: n for kind in get_args(PairKind) if (n := getattr(self, kind))}


class RaftConfig(Frozen):
    """Further rows that put documents before the question (RAFT: Zhang et al. 2024), one for each pair."""

    # The paper trains with four distractors, and without the right document in 0 to 60 % of rows, by task.
    distractors: int = Field(4, ge=1, le=20, description="chunks beside the right one that don't answer the question")
    without_gold: float = Field(
        0.2, ge=0, le=1, description="share of rows without the right chunk, which are answered by `refusal`"
    )
    refusal: str = Field(
        "The documents don't say.", min_length=1, description="the answer where the right chunk is left out"
    )


class SynthesizeConfig(Asking, Prices):
    """Questions and answers made from documents by a model, each held against what the document says."""

    endpoint: Endpoint | None = Field(None, description="where the model is served that writes; needed")
    checker: PricedEndpoint | None = Field(
        None, description="another model that checks what was written; None: the one that writes checks itself"
    )
    kinds: Kinds = Field(Kinds(), description="pairs asked for of each chunk (or pair of chunks), by kind")
    chunk: ChunkConfig = Field(ChunkConfig(), description="how documents are cut into what questions are asked of")
    min_words: int = Field(_LEAST_WORDS, ge=1, description="chunks of fewer words are asked nothing")
    # As the judge's: about 6,000 tokens of English; bounds what one request may cost.
    max_chars: int = Field(24_000, ge=1_000, description="longer requests (characters on the wire) are not sent")
    closed_book: Literal["flag", "drop", "off"] = Field(
        "flag",
        description="what becomes of a pair that the model answers rightly without the document; off: it isn't asked",
    )
    # Of a worked set of 48 true claims in seven languages one shares less, of 24 about something else 16
    # (pytest tests/steps/synthesize/test_claim_overlap.py).
    min_evidence_overlap: float = Field(
        0.15, ge=0, le=1,
        description="share of a claim, by its words, that must stand in what the checker quotes for it, rare words"
        " first; 0: it isn't looked at, as where answers are in another language than documents",
    )  # fmt: skip
    check_names: bool = Field(
        True, description="whether a name in a claim must stand in the document or the question; not in German"
    )
    # Chosen: questions of which 17 of 20 words are the same ask the same.
    duplicate_similarity: float = Field(
        0.85, gt=0, le=1, description="Jaccard similarity of two questions' words from which the later one is dropped"
    )
    raft: RaftConfig | None = Field(None, description="further rows with documents before the question; None: none")
    keep_documents: bool = Field(False, description="whether the documents themselves stay in the dataset as well")
    urls: tuple[str, ...] = Field(
        (), description="sitemaps (.xml) or lists of URLs (a line each), by which saved pages are given their URLs"
    )
    instructions: str = Field("", max_length=4000, description="what matters in these documents, added to the orders")

    @property
    def files(self) -> Sequence[str]:
        """Files that these settings name."""
        return self.urls

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.endpoint is None:
            raise ValueError(
                "questions are written by a model, and none is named: set endpoint.base_url and endpoint.model"
                " (none is made up from patterns)"
            )
        if not self.kinds.wanted():
            raise ValueError("kinds asks for nothing: set one of them above 0")
        if self.chunk.overlap_tokens:
            raise ValueError("chunk.overlap_tokens: chunks that repeat each other are asked the same; leave it out")
        return self
