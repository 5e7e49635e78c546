"""Questions answered by a server of another program, in a process of its own: prompts are rendered, and answers taken
apart, here. When the process dies, what was under way fails, and another one is started.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol, Self

from ops.console import complain
from ops.serving.desk import MOST_WAITING, FullError, Job, Question, Told, Writer, make_job
from steps.contracts.errors import AssayError, ServiceError
from steps.engines.completions.completer import Completer, Wanted

# Chosen: a server that has died so often within so many seconds dies of something that stays.
_MOST_DEATHS, _WITHIN = 3, 60.0
# Chosen: seconds within which a process that has ended is known to have.
_KNOWN = 0.25


class Engine(Protocol):
    """A server's process, started anew as often as is asked."""

    @property
    def name(self) -> str:
        """Of the program."""
        ...

    @property
    def room(self) -> int:
        """Tokens of all prompts and answers that are under way at once, at most."""
        ...

    @property
    def parallel(self) -> int:
        """How many are answered at once."""
        ...

    def start(self) -> Completer:
        """Start it, and wait until it answers.

        Raises:
            AssayError: it doesn't.
        """
        ...

    def wait(self) -> int:
        """Its status, when it has ended."""
        ...

    def stop(self) -> None:
        """End it."""
        ...


class EngineDesk:
    """As `Desk`, over an engine. `writers`: says how each model is asked, by its name, when the engine runs."""

    def __init__(self, engine: Engine, writers: Callable[[], Mapping[str, Writer]]) -> None:
        self._engine, self._make = engine, writers
        self._writers: Mapping[str, Writer] = {}
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._now: list[Job] = []
        self._completer: Completer | None = None
        self._closing, self._doubts = False, 0
        self._deaths: deque[float] = deque(maxlen=_MOST_DEATHS)
        self.answered, self.alive = 0, False
        self.failed: AssayError | None = None
        # Called when it is dead for good.
        self.when_dead: Callable[[], None] = lambda: None
        self._threads = [threading.Thread(target=self._watch, name="engine", daemon=True)]
        self._threads += [threading.Thread(target=self._answer, daemon=True) for _ in range(engine.parallel)]

    def __enter__(self) -> Self:
        """Start the engine.

        Raises: as its `start`.
        """
        self._completer = self._engine.start()
        try:
            self._writers = self._make()
        except BaseException:
            self._engine.stop()
            raise
        self.alive = True
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Let what is being answered go, and the engine."""
        with self._changed:
            self._closing, self.alive = True, False
            for job in (*self._waiting, *self._now):
                job.gone.set()
            self._changed.notify_all()
        self._engine.stop()
        for thread in self._threads:
            thread.join()

    @property
    def answering(self) -> int:
        """Questions that are answered now."""
        return len(self._now)

    @property
    def waiting(self) -> int:
        """Questions that nobody has begun to answer."""
        return len(self._waiting)

    def ask(self, question: Question, tell: Callable[[Told], None]) -> Job:
        """As `Desk.ask`.

        Raises: as `make_job`; FullError: too many wait. ServiceError: the engine doesn't run, or not yet again.
        """
        job = make_job(self._writers[question.model], question, tell)
        with self._changed:
            if not self.alive:
                raise self._dead()
            if len(self._waiting) >= MOST_WAITING:
                raise FullError
            self._waiting.append(job)
            self._changed.notify_all()
        return job

    def _answer(self) -> None:
        while (taken := self._next()) is not None:
            job, completer = taken
            failed: Exception | None = None
            try:
                completer.complete(_wanted(job), job, job.gone.is_set)
            except Exception as e:  # noqa: BLE001 - one answer is lost, the others go on
                failed = e if isinstance(e, AssayError) else RuntimeError(f"{type(e).__name__}: {e!s:.300}")
                self._doubt(completer)
            with self._changed:
                self._now.remove(job)
                self.answered += 1
                self._changed.notify_all()
            job.end(failed)

    def _doubt(self, completer: Completer) -> None:
        """A failure may be the first sign of a death: nothing more is asked until that is known."""
        with self._changed:
            self._doubts += 1
            self._changed.wait_for(lambda: self._completer is not completer or self._closing, _KNOWN)
            self._doubts -= 1
            self._changed.notify_all()

    def _next(self) -> tuple[Job, Completer] | None:
        """The first that waits, when there is room for it; None: there is an end of it."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._closing or self._fits())
                if self._closing or self._completer is None:
                    return None
                job = self._waiting.popleft()
                if not job.gone.is_set():
                    self._now.append(job)
                    return job, self._completer

    def _fits(self) -> bool:
        if not self._waiting or self._completer is None or self._doubts:
            return False
        taken = sum(_size(job) for job in self._now)
        return not self._now or taken + _size(self._waiting[0]) <= self._engine.room

    def _watch(self) -> None:
        """Start the engine anew whenever it has ended, unless it ends too often."""
        while True:
            status = self._engine.wait()
            with self._changed:
                if self._closing:
                    return
                self._completer = None
                self._deaths.append(time.monotonic())
                self._changed.notify_all()
            complain(
                f"{self._engine.name} ended with status {status}; answers on their way are lost, it is started anew"
            )
            try:
                self._restart(status)
            except AssayError as e:
                self._give_up(e)
                return

    def _restart(self, status: int) -> None:
        self._engine.stop()
        if len(self._deaths) == _MOST_DEATHS and time.monotonic() - self._deaths[0] < _WITHIN:
            raise ServiceError(
                f"{self._engine.name} has ended {_MOST_DEATHS} times within {_WITHIN:.0f} s, last with status {status}"
            )
        completer = self._engine.start()
        with self._changed:
            closing = self._closing
            self._completer = completer
            self._changed.notify_all()
        if closing:
            self._engine.stop()

    def _give_up(self, error: AssayError) -> None:
        with self._changed:
            self.failed, self.alive, self._closing = error, False, True
            waiting, self._waiting = list(self._waiting), deque()
            self._changed.notify_all()
        for job in waiting:
            job.end(self._dead())
        self.when_dead()

    def _dead(self) -> ServiceError:
        return ServiceError(f"{self._engine.name} doesn't run any more", hint="look at what the server said")


def _size(job: Job) -> int:
    return len(job.ids) + job.room


def _wanted(job: Job) -> Wanted:
    q = job.question
    # Piece by piece it ends at a stop sequence, and not all ids are told.
    piecewise = q.pieces or (bool(q.stops) and not q.tells_ids)
    return Wanted(q.model, job.ids, job.room, q.temperature, q.top_p, q.seed, piecewise)
