"""Work that can be done in any process, and what runs it. Where work runs never decides a number."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Item_contra = TypeVar("Item_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)


@dataclass(frozen=True)
class Work(Generic[Item, Result]):
    """What to do with each item, in words that another process understands.

    Attributes:
        prepare: a function at the top of an importable module: `settings` in, what does the work out. It is called once
            in each process.
        settings: what `prepare` takes; can be hashed, and pickled as items and results can.
        what: names the work in errors.
    """

    prepare: Callable[[Any], Callable[[Item], Result]]
    settings: Any
    what: str


class Pool(Protocol[Item_contra, Result_co]):
    """Processes that are ready to work, or this one."""

    def results(self, items: Iterable[Item_contra]) -> Iterator[Result_co]:
        """The result of each item, in the order of the items, which are taken as results are wanted: few are in hand.

        Raises:
            WorkerDiedError: processes died again and again on one item.
        """


class Executor(Protocol):
    """Where work runs."""

    @property
    def batch_rows(self) -> int | None:
        """Rows that make a good item; None: as many as there are."""

    def open(
        self, work: Work[Item, Result], here: Callable[[Item], Result] | None = None
    ) -> AbstractContextManager[Pool[Item, Result]]:
        """A pool for this work; it ends with the block.

        `here` is the prepared work where the caller has it already: not all items are worth another process.
        """


@dataclass(frozen=True)
class _Here(Generic[Item, Result]):
    function: Callable[[Item], Result]

    def results(self, items: Iterable[Item]) -> Iterator[Result]:
        return map(self.function, items)


@dataclass(frozen=True)
class Inline:
    """Work is done in this process, one item after the other."""

    batch_rows: int | None = None

    def open(
        self, work: Work[Item, Result], here: Callable[[Item], Result] | None = None
    ) -> AbstractContextManager[Pool[Item, Result]]:
        """A pool for this work."""
        return nullcontext(_Here(here or work.prepare(work.settings)))
