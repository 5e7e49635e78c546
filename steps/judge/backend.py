"""What a judge is: cases in, one verdict each out, in the same order."""

from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from steps.contracts.reports import Table
from steps.engines.rubric.case import Case, Criterion
from steps.judge.verdict import JudgeVerdict


class Judge(Protocol):
    """One backend. A context manager; `verdicts` may be called many times within it."""

    @property
    def digest(self) -> str:
        """Digest of all that decides a verdict besides the row."""

    @property
    def rated(self) -> bool:
        """Whether its verdicts say how probable each rating is."""

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """All criteria that rows of any kind are scored by, in order."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None: ...

    def verdicts(self, cases: Sequence[Case]) -> list[JudgeVerdict]:
        """One verdict per case, in order."""

    def known(self, cases: Sequence[Case]) -> list[bool]:
        """Of each case, whether it says more at no cost than what another step of this run has kept of its verdict."""

    def share_of(self, case: Case, shares: int) -> int | None:
        """Which of so many shares of the rows must decide about the case; None: any may."""

    def pass_over(self, rows: int) -> None:
        """Say that so many rows needed no verdict, because it was known: for the progress shown."""

    def counts(self) -> dict[str, Counter[str]]:
        """What the backend counted so far, for the report."""

    def tables(self) -> tuple[Table, ...]:
        """Tables for the report."""

    def notes(self) -> tuple[str, ...]:
        """Sentences that a reader of the report must know."""

    def warnings(self) -> tuple[str, ...]:
        """Sentences on what wasn't done as the config says."""


@runtime_checkable
class AskingJudge(Judge, Protocol):
    """One that waits for somebody else's answers: further cases may be begun meanwhile."""

    def begin(self, cases: Sequence[Case]) -> Callable[[], list[JudgeVerdict]]:
        """As `verdicts`, without waiting: what is returned waits."""


@runtime_checkable
class RepeatableJudge(Judge, Protocol):
    """One that may say something else when it is asked once more."""

    def asked_again(self, cases: Sequence[Case], occasion: str) -> list[JudgeVerdict]:
        """As `verdicts`, without what is kept of other occasions; of the same one nothing is asked twice."""
