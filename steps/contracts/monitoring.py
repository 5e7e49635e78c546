"""What a look at production found: how a window of requests differs from the training data, and what follows."""

from typing import Literal, TypeAlias

from pydantic import Field

from steps.contracts.evaluation import Estimate
from steps.contracts.reports import Frozen

# drifted: requests aren't what the model was trained on. degraded: answers are worse than they were, or than a limit
# allows. too_few: nothing can be said.
MonitorVerdict: TypeAlias = Literal["steady", "drifted", "degraded", "too_few"]
# In a line of a published candidate, and so in the meta of the row that ingest reads of it: the candidate's record id.
CANDIDATE = "candidate"
Kind: TypeAlias = Literal["drift", "answers", "limit"]
VERDICTS: tuple[MonitorVerdict, ...] = ("steady", "drifted", "degraded", "too_few")


class MonitorCheck(Frozen):
    """One thing that was looked at.

    Attributes:
        kind: drift: of the requests; answers: of what was answered, beside the training answers; limit: beside a limit
            that the config names.
        window, training: a share, or a quantile in `unit`, with its interval; None where the check has none.
        effect: how far both are apart, as `measure` says; `floor`: what it must reach to matter; of a limit the limit.
        p: of the test; `adjusted`: corrected for all tests of the decision; None: a limit is no test.
        alarm: whether it speaks against the window.
    """

    name: str
    kind: Kind
    measure: str
    window: Estimate | None = None
    training: Estimate | None = None
    unit: str = ""
    effect: float | None = None
    floor: float | None = None
    p: float | None = None
    adjusted: float | None = None
    alarm: bool = False


class MonitorOutcome(Frozen):
    """A decision in two words, for schedules."""

    verdict: MonitorVerdict
    retrain: bool


class Monitored(Frozen):
    """The decision on the newest window.

    Attributes:
        retrain: whether the config wants a new model for this verdict.
        requests: in the window; began, ended: when its first and last one were asked, ISO 8601 in UTC; "" without any.
        model: digest of the weights that answered, "" where it isn't known.
        dataset_digest: of the training data.
        alpha: chance of a false alarm that all tests of the decision share; tests: how many there were, corrected by
            Holm's method.
        config_digest: of the settings.
    """

    verdict: MonitorVerdict
    retrain: bool
    requests: int
    began: str = ""
    ended: str = ""
    model: str = ""
    dataset_digest: str
    alpha: float
    tests: int
    checks: tuple[MonitorCheck, ...] = ()
    notes: tuple[str, ...] = Field(default_factory=tuple)
    config_digest: str

    @property
    def outcome(self) -> MonitorOutcome:
        """What a run's record has of it."""
        return MonitorOutcome(verdict=self.verdict, retrain=self.retrain)

    @property
    def alarms(self) -> tuple[MonitorCheck, ...]:
        """The checks that speak against the window."""
        return tuple(c for c in self.checks if c.alarm)
