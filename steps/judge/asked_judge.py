"""What judges that ask an endpoint share: one session, the progress shown, how rows are handed over."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from steps.contracts.reports import Table, of_chapter
from steps.engines.llm.account import Payer
from steps.engines.llm.endpoint import Endpoint
from steps.engines.llm.session import ChatSession
from steps.engines.progress.progress import Progress
from steps.engines.rubric.case import Case
from steps.engines.rubric.rubric import Rubric
from steps.judge.config import JudgeConfig
from steps.judge.verdict import JudgeVerdict


class AskedJudge(ABC):
    """Asks the endpoint about every case that isn't known yet. A context manager."""

    # Whether a reply is a row's whole verdict, so that each moves the progress on.
    _a_reply_a_row: ClassVar[bool]

    def __init__(
        self,
        config: JudgeConfig,
        rubric: Rubric,
        endpoint: Endpoint,
        cache_file: Path,
        total: int,
        payer: Payer | None = None,
    ) -> None:
        """`total`: rows, for the progress shown; `payer`: as in `ChatSession`."""
        self.config, self.rubric, self.endpoint = config, rubric, endpoint
        self.criteria = rubric.all_criteria
        self._prepare()
        self._progress = Progress("judge", total)
        advance: Callable[[int], None] = self._progress.advance if self._a_reply_a_row else lambda _: None
        try:
            self._session = ChatSession(
                endpoint, config, cache_file,
                where="judge.endpoint", max_chars=config.max_chars, advance=advance, payer=payer,
            )  # fmt: skip
        except BaseException:
            self._progress.__exit__(None, None, None)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self._session.__exit__(kind, error, tb)
        finally:
            self._progress.__exit__(None, None, None)

    @abstractmethod
    def _prepare(self) -> None:
        """Make what is needed before anything is asked."""

    @abstractmethod
    def _begin(self, cases: Sequence[Case], occasion: str = "") -> Callable[[], list[JudgeVerdict]]:
        """Ask about the cases, by replies of an occasion; what is returned waits."""

    def verdicts(self, cases: Sequence[Case]) -> list[JudgeVerdict]:
        """One verdict per case, in order.

        Raises:
            ServiceError: the endpoint as a whole doesn't work.
        """
        return self.begin(cases)()

    def asked_again(self, cases: Sequence[Case], occasion: str) -> list[JudgeVerdict]:
        """As `verdicts`, by replies of this occasion."""
        self._progress.total = (self._progress.total or 0) + len(cases)
        return self._begin(cases, occasion)()

    def begin(self, cases: Sequence[Case]) -> Callable[[], list[JudgeVerdict]]:
        """As `verdicts`, without waiting: the model is asked from now on, and what is returned waits.

        Raises: as `verdicts`, now or then.
        """
        return self._begin(cases)

    def pass_over(self, rows: int) -> None:
        """Rows whose verdict is known from an earlier run."""
        self._progress.advance(rows)

    def counts(self) -> dict[str, Counter[str]]:
        """Requests sent, replies bought, cache hits."""
        return {"requests": self._session.counts()}

    def tables(self) -> tuple[Table, ...]:
        """Tokens and cost, of this run and from the cache."""
        return of_chapter("spend", [self._session.spending.table()])

    def warnings(self) -> tuple[str, ...]:
        """How requests differed from the config, because the server wanted it."""
        return self._session.adapted
