"""Which rows of a dataset version a phase of training takes."""

from typing import Annotated, Literal

from pydantic import Field

from steps.contracts.records import Kind
from steps.contracts.reports import Frozen
from steps.train.mixture import Share


class PhaseRows(Frozen):
    """Which rows of the dataset version a phase trains on."""

    split: Literal["train", "validation"] = Field(
        "train", description="Split. After training on validation rows there is no validation loss. Never test."
    )
    sources: tuple[str, ...] = Field((), description="Names of sources, as ingest has them; empty: all.")
    kinds: tuple[Kind, ...] = Field((), description="Kinds of rows; empty: all that the objective takes.")

    mixture: dict[str, Annotated[float, Field(gt=0)] | Share] = Field(
        default_factory=dict,
        description="How often a row of a source is seen in an epoch, by the source's name: 2 is twice, 0.25 a quarter"
        " of the rows, the same ones in every epoch; {share: 0.1}: so often that a tenth of an epoch's rows are of this"
        " source. 1 where none is given.",
    )

    @property
    def all(self) -> bool:
        """Whether no row of the split is left out."""
        return not self.sources and not self.kinds

    def take(self, split: str | None, source: str, kind: str) -> bool:
        """Whether a row of that split (None: the version has no splits), source and kind is among them."""
        among = (not self.sources or source in self.sources) and (not self.kinds or kind in self.kinds)
        return among and (split or "train") == self.split
