"""Processes of this machine that may die: what one was doing is done again by another."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from steps.contracts.errors import WorkerDiedError
from steps.contracts.execution import Work
from steps.engines.execution import worker

Item = TypeVar("Item")
Result = TypeVar("Result")

# Chosen: a process killed by chance dies once; one that dies on what it is given dies every time.
ATTEMPTS = 3
# Chosen: large enough that sending costs little, small enough that workers stay busy to the end.
BATCH_ROWS = 256
# Chosen: the next item is there when a worker is done with one, and one slow item doesn't keep the others waiting.
_GIVEN, _IN_HAND = 2, 4


@dataclass(frozen=True)
class Processes:
    """So many processes, started anew for each kind of work."""

    workers: int
    batch_rows: int | None = BATCH_ROWS

    def open(
        self, work: Work[Item, Result], here: Callable[[Item], Result] | None = None
    ) -> "_ProcessPool[Item, Result]":
        """A pool for this work. A single item is done `here`: starting a process would cost more."""
        return _ProcessPool(work, self.workers, here)


@dataclass
class _Job(Generic[Item, Result]):
    """An item in hand; `future` is None until a worker has it."""

    item: Item
    future: Future[Result] | None = None
    deaths: int = 0


class _ProcessPool(Generic[Item, Result]):
    """Workers; each starts with its first item."""

    def __init__(self, work: Work[Item, Result], count: int, here: Callable[[Item], Result] | None) -> None:
        self._work, self._here = work, here
        self._workers = [_Worker[Item, Result](work) for _ in range(count)]

    def results(self, items: Iterable[Item]) -> Iterator[Result]:
        """The result of each item, in order."""
        return single_here(items, self._here, self._worked)

    def _worked(self, items: Iterator[Item]) -> Iterator[Result]:
        in_hand: deque[_Job[Item, Result]] = deque()
        waiting: deque[_Job[Item, Result]] = deque()
        while True:
            taken = [_Job[Item, Result](i) for i in islice(items, _IN_HAND * len(self._workers) - len(in_hand))]
            in_hand.extend(taken)
            waiting.extend(taken)
            self._hand_out(waiting)
            if not in_hand:
                return
            first = in_hand[0].future
            if first is not None and first.done() and not _lost(first):
                in_hand.popleft()
                yield first.result()
            else:
                waiting.extendleft(self._ended())

    def _hand_out(self, waiting: deque[_Job[Item, Result]]) -> None:
        for load in range(_GIVEN):
            for w in self._workers:
                if waiting and len(w.jobs) == load:
                    w.take(waiting.popleft())

    def _ended(self) -> list[_Job[Item, Result]]:
        """Wait for the end of something; returns what is to be done again, the latest first.

        Raises:
            WorkerDiedError: that was the last attempt.
        """
        wait([job.future for w in self._workers for job in w.jobs if job.future], return_when=FIRST_COMPLETED)
        lost = [job for w in self._workers for job in w.ended()]
        for job in lost:
            if job.deaths == ATTEMPTS:
                raise worker_died(self._work, job.item)
        return lost[::-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for w in self._workers:
            w.end(kill=kind is not None)


class _Worker(Generic[Item, Result]):
    """One process. Each has a pool to itself, so that its death takes no other with it and says what it was doing."""

    def __init__(self, work: Work[Item, Result]) -> None:
        self.jobs: deque[_Job[Item, Result]] = deque()
        self._work = work
        self._pool: ProcessPoolExecutor | None = None
        self._id: Future[int] | None = None

    def take(self, job: _Job[Item, Result]) -> None:
        try:
            job.future = self._started().submit(worker.do, job.item)
        except BrokenProcessPool:  # killed while it had nothing to do
            self.end()
            job.future = self._started().submit(worker.do, job.item)
        self.jobs.append(job)

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # spawn: forking a process that runs threads (torch, Arrow) can hang.
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(1, spawn, initializer=worker.start, initargs=(self._work,))
            self._id = self._pool.submit(worker.process_id)
        return self._pool

    def ended(self) -> Sequence[_Job[Item, Result]]:
        """Let go of jobs that have ended; returns those that died with the process. The first of them killed it."""
        while self.jobs and self.jobs[0].future and self.jobs[0].future.done() and not _lost(self.jobs[0].future):
            self.jobs.popleft()
        if not self.jobs or not self.jobs[0].future or not self.jobs[0].future.done():
            return ()
        lost = list(self.jobs)
        lost[0].deaths += 1
        self.jobs.clear()
        self.end()
        return lost

    def end(self, *, kill: bool = False) -> None:
        """End the process: after what it is doing, or at once."""
        if self._pool is None:
            return
        if kill and self._id is not None:
            with suppress(BrokenProcessPool, ProcessLookupError):
                os.kill(self._id.result(), signal.SIGKILL)
        self._pool.shutdown(cancel_futures=True)
        self._pool = None


def _lost(future: Future[Any]) -> bool:
    return isinstance(future.exception(), BrokenProcessPool)


def single_here(
    items: Iterable[Item],
    here: Callable[[Item], Result] | None,
    elsewhere: Callable[[Iterator[Item]], Iterator[Result]],
) -> Iterator[Result]:
    """Results of `elsewhere`, in order; a single item is done `here`, where that is prepared."""
    coming = iter(items)
    first = list(islice(coming, 2))
    if here is not None and len(first) < 2:
        return map(here, first)
    return elsewhere(chain(first, coming))


def worker_died(work: Work[Item, Result], item: Item) -> WorkerDiedError:
    """The error that says so."""
    return WorkerDiedError(
        f"worker processes died {ATTEMPTS} times on the same piece of work",
        item,
        where=work.what,
        hint="mostly too little memory: set fewer workers in run.executor of the infra file; with kind: inline the"
        " error itself is seen",
    )
