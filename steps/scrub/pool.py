"""Worker processes that may die: a batch that was under way is done again by new ones."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Generic, TypeVar

from steps.contracts.errors import AssayError

Batch = TypeVar("Batch")
Result = TypeVar("Result")

# Chosen: a process killed by chance dies once; one that dies on what it is given dies every time.
_ATTEMPTS = 3


class Workers(Generic[Batch, Result]):
    """`count` processes that run `work` on batches; started at the first use."""

    def __init__(self, work: Callable[[Batch], Result], count: int) -> None:
        self._work = work
        self._count = count
        self._pool: ProcessPoolExecutor | None = None

    def results(self, batches: Sequence[Batch]) -> list[Result]:
        """The result of each batch, in the order of the batches.

        A dead process takes the others of its pool with it: what wasn't finished goes to a new pool.

        Raises:
            AssayError: processes died again and again while nothing was finished.
        """
        done: dict[int, Result] = {}
        deaths = 0
        while len(done) < len(batches):
            before = len(done)
            died = self._attempt(batches, done)
            deaths = deaths + 1 if died and len(done) == before else int(died)
            if deaths == _ATTEMPTS:
                raise AssayError(
                    f"worker processes died {_ATTEMPTS} times in a row on the same texts",
                    where="scrub.workers",
                    hint="mostly too little memory: set fewer workers; with workers: 1 the error itself is seen",
                )
        return [done[number] for number in range(len(batches))]

    def _attempt(self, batches: Sequence[Batch], done: dict[int, Result]) -> bool:
        """Run what isn't done yet; says whether a process died."""
        waiting: dict[int, Future[Result]] = {}
        try:
            if self._pool is None:
                # spawn: forking a process that runs threads (torch, Arrow) can hang.
                self._pool = ProcessPoolExecutor(self._count, mp_context=multiprocessing.get_context("spawn"))
            for number in range(len(batches)):
                if number not in done:
                    waiting[number] = self._pool.submit(self._work, batches[number])
            for number, future in waiting.items():
                done[number] = future.result()
        except BrokenProcessPool:
            done.update({n: f.result() for n, f in waiting.items() if f.done() and not f.exception()})
            self.close()
            return True
        return False

    def close(self) -> None:
        """End the processes; what they were doing is dropped."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
