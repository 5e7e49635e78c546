"""Which rows of a dataset version a phase of training takes."""

from typing import Literal

from pydantic import Field

from steps.contracts.records import Kind
from steps.contracts.reports import Frozen


class PhaseRows(Frozen):
    """Which rows of the dataset version a phase trains on."""

    split: Literal["train", "validation"] = Field(
        "train", description="Split. After training on validation rows there is no validation loss. Never test."
    )
    sources: tuple[str, ...] = Field((), description="Names of sources, as ingest has them; empty: all.")
    kinds: tuple[Kind, ...] = Field((), description="Kinds of rows; empty: all that the objective takes.")

    @property
    def all(self) -> bool:
        """Whether no row of the split is left out."""
        return not self.sources and not self.kinds

    def take(self, split: str | None, source: str, kind: str) -> bool:
        """Whether a row of that split (None: the version has no splits), source and kind is among them."""
        among = (not self.sources or source in self.sources) and (not self.kinds or kind in self.kinds)
        return among and (split or "train") == self.split
