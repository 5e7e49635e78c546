"""What a grade is: scores, what became of the answer in one word, and the evidence: what matched, what differed."""

from dataclasses import dataclass, field
from typing import Any

from steps.engines.graders.classes import CLASSES

DECLINED = "declined"


@dataclass(frozen=True)
class Graded:
    """One answer's grade.

    Attributes:
        scores: by metric; None where one doesn't apply.
        outcome: totally_correct, partially_correct, wrong, declined; "" where nothing was compared.
        evidence: JSON values.
    """

    scores: dict[str, float | None]
    outcome: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)

    @property
    def classes(self) -> dict[str, float | None]:
        """1 for the class of the answer and 0 for the others; all 0 where it was declined."""
        return {name: float(name == self.outcome) for name in CLASSES} if self.outcome else {}
