"""What every curation stage returns, with or without ZenML."""

from dataclasses import dataclass

from steps.contracts.dataset import Dataset
from steps.contracts.ledger import Ledger
from steps.contracts.reports import StageReport


@dataclass(frozen=True)
class Outcome:
    """A stage's result: the rows that go on, what happened to the others, and the counts.

    `quarantined` holds the rows set aside for a human (a version over the same shards); None for stages that
    never quarantine.
    """

    dataset: Dataset
    ledger: Ledger
    report: StageReport
    quarantined: Dataset | None = None
