"""How documents are cut into chunks."""

from typing import Self

from pydantic import Field, model_validator

from steps.contracts.reports import Frozen


class ChunkConfig(Frozen):
    """How documents are cut. A chunk ends at a heading, or where the next paragraph would exceed `max_tokens`."""

    # Chosen: fits four chunks into a 2,048-token sequence.
    max_tokens: int = Field(512, ge=16, description="most tokens in a chunk")
    # Chosen: a shorter section joins the next one, so that lone headings make no chunks.
    min_tokens: int = Field(32, ge=0, description="a section with fewer tokens joins the next one")
    # Chosen: training text repeats nothing.
    overlap_tokens: int = Field(0, ge=0, description="tokens repeated where a section is cut for its length")
    tokenizer: str | None = Field(
        None, description="folder or hub id of a tokenizer; None: one token per word and per punctuation mark"
    )
    tokenizer_revision: str | None = Field(None, description="commit hash of a tokenizer from the hub")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.overlap_tokens * 2 > self.max_tokens or self.min_tokens > self.max_tokens:
            raise ValueError("chunk: min_tokens may be at most max_tokens, and overlap_tokens at most half of it")
        return self
