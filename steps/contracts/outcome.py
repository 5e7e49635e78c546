"""What every curation stage returns, with or without ZenML."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from steps.contracts.dataset import Dataset
from steps.contracts.ledger import Ledger
from steps.contracts.reports import StageReport


@dataclass(frozen=True)
class Outcome:
    """A stage's result: the rows that go on, what happened to the others, and the counts.

    Attributes:
        quarantined: the rows set aside for a human (a version over the same shards); None: the stage never does that.
        artifacts: what else the stage makes, by artifact name (`rejects`, `verdicts`, what a later run builds on).
    """

    rows: Dataset
    ledger: Ledger
    report: StageReport
    quarantined: Dataset | None = None
    artifacts: Mapping[str, Any] = field(default_factory=dict)
