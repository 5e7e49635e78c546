"""What every curation stage returns, with or without ZenML."""

from dataclasses import dataclass, field

from steps.contracts.dataset import Dataset
from steps.contracts.embeddings import CachedEmbeddings
from steps.contracts.errors import IntegrityError
from steps.contracts.index import DedupIndex
from steps.contracts.ledger import Ledger
from steps.contracts.reports import StageReport
from steps.contracts.row_cache import RowCache


@dataclass(frozen=True)
class Outcome:
    """A stage's result: the rows that go on, what happened to the others, and the counts.

    `quarantined` holds the rows set aside for a human (a version over the same shards); None for stages that
    never quarantine. `row_cache` is what a row-wise stage keeps for the next run; None for the other stages;
    `index` what dedup keeps; `embeddings` what models said about texts.
    """

    dataset: Dataset
    ledger: Ledger
    report: StageReport
    quarantined: Dataset | None = None
    row_cache: RowCache | None = None
    index: DedupIndex | None = None
    embeddings: CachedEmbeddings = field(default_factory=CachedEmbeddings)

    @property
    def set_aside(self) -> Dataset:
        """The quarantined rows of a stage that always has such a version (it may be empty)."""
        if self.quarantined is None:
            raise IntegrityError("no quarantine version was made", where=f"stage {self.report.stage}")
        return self.quarantined

    @property
    def indexed(self) -> DedupIndex:
        """The index of a dedup that always has one (it may be empty)."""
        if self.index is None:
            raise IntegrityError("no index was made", where=f"stage {self.report.stage}")
        return self.index

    @property
    def finished_row_cache(self) -> RowCache:
        """The row cache of a stage that always has one."""
        if self.row_cache is None:
            raise IntegrityError("no row cache was made", where=f"stage {self.report.stage}")
        return self.row_cache
