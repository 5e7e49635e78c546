"""Settings of the data report."""

from pydantic import Field

from steps.contracts.reports import Frozen
from steps.engines.embed.config import EmbedConfig
from steps.engines.yardsticks.enough import Goal


class DataReportConfig(Frozen):
    """What is looked at in the texts of rows, besides what the other stages find."""

    goal: Goal | None = Field(
        None,
        description="What the rows are to teach: style, structured (narrow structured output), domain or facts; null:"
        " the rule of each is told.",
    )
    against: tuple[str, ...] = Field(
        (), description="Names of sources that are the second data set, beside all others; empty: there is one set."
    )
    tokenizer: str | None = Field(
        None, description="Model whose tokenizer tells lengths: a folder, or a hub id; null: words and signs."
    )
    revision: str | None = Field(None, description="Hub tokenizers: commit, branch or tag; null: the default branch.")
    max_length: int = Field(1_024, ge=1, description="Tokens that training would read of a row; longer ones are cut.")
    embed: EmbedConfig | None = Field(
        None, description="Model whose vectors tell topics and neighbours; null: hashed words, which need none."
    )
    # Chosen: shares within 0.7 points, and a minute of work.
    most_rows: int = Field(
        20_000, ge=100, description="Rows of each set whose languages and lengths are looked at, chosen by the seed."
    )
    # Chosen: all pairs of so many take seconds.
    compared_rows: int = Field(
        2_000, ge=50, le=20_000, description="Of these, rows of each set that topics, neighbours and diversity are of."
    )
    topics: int = Field(12, ge=2, le=100, description="Clusters of the rows, at most.")
    # Chosen: with hashed words two prompts of a template that differ in one name or number lie above it.
    near: float = Field(0.95, gt=0, le=1, description="Cosine from which two prompts count as nearly equal.")
    seed: int = Field(0, ge=0, lt=2**31, description="Of samples and clusters.")
    allow_raw_egress: bool = Field(
        False, description="Let rows that were not scrubbed go to an embedding endpoint on another machine."
    )

    def models(self) -> tuple[tuple[str, str | None], ...]:
        """Models on this machine or on the hub: name and revision."""
        embed = ((self.embed.model, self.embed.revision),) if self.embed and self.embed.model else ()
        return (*embed, *(((self.tokenizer, self.revision),) if self.tokenizer else ()))
