"""Work that waits for somebody else: further items are begun while the results of earlier ones are on their way."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from steps.contracts.execution import Pool, Work

Item = TypeVar("Item")
Result = TypeVar("Result")

# Chosen: what is begun is held in memory: rows enough for 512 requests at once, whose slowest keep none of them idle.
_ROWS, _BEGUN = 1024, 4


@dataclass(frozen=True)
class Ahead(Generic[Item, Result]):
    """An executor whose work is begun in this process: `begin` returns what waits for the result. So many items are
    begun before the first one's is waited for.
    """

    begin: Callable[[Item], Callable[[], Result]]
    batch_rows: int | None = _ROWS
    begun: int = _BEGUN

    def open(
        self, work: Work[Any, Any], here: Callable[[Any], Any] | None = None
    ) -> AbstractContextManager[Pool[Any, Any]]:
        """A pool for this work, however it is given."""
        return nullcontext(self)

    def results(self, items: Iterable[Item]) -> Iterator[Result]:
        """The result of each item, in order."""
        waiting: deque[Callable[[], Result]] = deque()
        for item in items:
            waiting.append(self.begin(item))
            if len(waiting) >= self.begun:
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()
