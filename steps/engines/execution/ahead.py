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
    """An executor whose work is begun in this process: `begin` returns what waits for the result."""

    begin: Callable[[Item], Callable[[], Result]]
    batch_rows: int | None = _ROWS

    def open(
        self, work: Work[Any, Any], here: Callable[[Any], Any] | None = None
    ) -> AbstractContextManager[Pool[Any, Any]]:
        """A pool for this work, however it is given."""
        return nullcontext(self)

    def results(self, items: Iterable[Item]) -> Iterator[Result]:
        """The result of each item, in order; four are begun before the first is waited for."""
        waiting: deque[Callable[[], Result]] = deque()
        for item in items:
            waiting.append(self.begin(item))
            if len(waiting) >= _BEGUN:
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()
