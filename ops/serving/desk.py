"""One thread that has the models and answers what waits, several questions of one model at a time, first come first."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from ops.serving.loading import Models, load_models
from steps.contracts.errors import AssayError, TrainingDataError
from steps.contracts.records import Row
from steps.engines.lm.live import Live
from steps.engines.lm.transcript import Piece, Transcript
from steps.engines.subjects.local_model import Inference, LocalModel
from steps.engines.subjects.subject import Asked, Prompt

# Chosen: what waits longer has been given up by whoever asked it.
MOST_WAITING = 256
# Chosen: seconds between pieces of an answer. Twenty in a second look like a flow; each costs the time of a twentieth
# to a tenth of a token of a small model.
_BETWEEN = 0.05
# Chosen, in seconds: so long for the next one to come, and at most so long for all.
_NEXT_ONE, _ALL = 0.02, 0.2


@dataclass(frozen=True)
class End:
    """How an answer ended. `prompt`, `completion`: in tokens; `cut`: it had no more room. `prompt_ids`, `ids`: the
    tokens themselves, without the one that ended the answer.
    """

    text: str
    reasoning: str | None
    prompt: int
    completion: int
    cut: bool
    prompt_ids: Sequence[int] = ()
    ids: Sequence[int] = ()


# What is told of an answer: its pieces, then its end or what went wrong.
Told: TypeAlias = Piece | End | Exception


class FullError(Exception):
    """So many questions wait that another one would wait too long."""


class NoRoomError(Exception):
    """A prompt fills the context. `tokens`: of it, `window`: of the context."""

    def __init__(self, tokens: int, window: int) -> None:
        super().__init__(f"the prompt has {tokens} tokens, the model's context {window}: there is no room to answer")


@dataclass(frozen=True)
class Question:
    """What is asked. `most`: tokens of the answer at most. `pieces`: whether it is told piece by piece. `tells_ids`:
    whether its tokens' ids are wanted.
    """

    model: str
    row: Row
    most: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stops: tuple[str, ...] = ()
    pieces: bool = False
    tells_ids: bool = False


@dataclass(eq=False)
class Job:
    """A question that waits or is answered. Whoever asked it may let it go: `gone`."""

    question: Question
    ids: list[int]
    room: int
    transcript: Transcript
    tell: Callable[[Told], None]
    gone: threading.Event = field(default_factory=threading.Event)
    ended: bool = False
    _told: float = float("-inf")

    def hear(self, token: int) -> bool:
        """One more token; returns whether that is enough."""
        self.transcript.add(token)
        return self._heard()

    def hear_text(self, text: str, tokens: int) -> bool:
        """The same of a server that tells text."""
        self.transcript.add_text(text, tokens)
        return self._heard()

    def _heard(self) -> bool:
        if self.question.pieces and (now := time.monotonic()) >= self._told + _BETWEEN:
            piece = self.transcript.piece()
            if piece != Piece():
                self._told = now
                self.tell(piece)
        return self.transcript.stopped or self.gone.is_set()

    def end(self, failed: Exception | None = None) -> None:
        """Tell what is left, or why there is no answer."""
        self.ended = True
        if failed is not None:
            self.tell(failed)
            return
        if self.question.pieces and (piece := self.transcript.rest()) != Piece():
            self.tell(piece)
        whole, tokens = self.transcript.whole(), self.transcript.tokens
        cut = tokens >= self.room and not self.transcript.stopped
        said = self.transcript.ids
        self.tell(End(whole.text, whole.reasoning, len(self.ids), tokens, cut, self.ids, said))


class Writer(Protocol):
    """Whoever knows how questions are put to a model."""

    def prompts(self, rows: Sequence[Row]) -> Asked:
        """The rows as prompts."""
        ...

    def tokens(self, prompt: Prompt) -> tuple[list[int], int]:
        """A prompt's token ids, and how many its answer may have (below 0: so many too long it is)."""
        ...

    def transcript(self, prompt: Prompt, stops: Sequence[str]) -> Transcript:
        """What becomes text of the tokens of an answer."""
        ...


class Answers(Protocol):
    """Whoever answers questions."""

    @property
    def alive(self) -> bool:
        """Whether questions are answered."""
        ...

    @property
    def answering(self) -> int:
        """Questions that are answered now."""
        ...

    @property
    def waiting(self) -> int:
        """Questions that nobody has begun to answer."""
        ...

    @property
    def answered(self) -> int:
        """How many were."""
        ...

    def ask(self, question: Question, tell: Callable[[Told], None]) -> Job:
        """Put a question; `tell` is called by other threads.

        Raises:
            TrainingDataError: the template refuses it. NoRoomError: it fills the context. FullError: too many wait.
        """
        ...


def make_job(writer: Writer, question: Question, tell: Callable[[Told], None]) -> Job:
    """A question as tokens.

    Raises:
        TrainingDataError: the template refuses it. NoRoomError: it fills the context.
    """
    (prompt,) = writer.prompts([question.row]).prompts
    if prompt is None:
        raise TrainingDataError("these messages can't be put to this model")
    ids, left = writer.tokens(prompt)
    if left < 1:
        raise NoRoomError(len(ids), len(ids) + left)
    return Job(question, ids, min(question.most, left), writer.transcript(prompt, question.stops), tell)


class Desk:
    """The thread and its queue. `batch_size`, `batch_tokens` of the inference bound what is answered together."""

    def __init__(self, models: Mapping[str, Models], inference: Inference) -> None:
        self._given, self._inference = models, inference
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        # Of one model; those that have ended are left out as soon as others may come.
        self._now: list[Job] = []
        # Questions that were answered together last, and those that are just being put.
        self._before = self._coming = 0
        self._closing = False
        self.answered = 0
        self._served: Mapping[str, LocalModel] = {}
        self._use: Callable[[str], None] = lambda name: None
        self._ready = threading.Event()
        self._failed: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="answers", daemon=True)

    def __enter__(self) -> "Desk":
        """Load the models.

        Raises: as `load_models`.
        """
        self._thread.start()
        self._ready.wait()
        if self._failed is not None:
            raise self._failed
        return self

    def __exit__(self, *_: object) -> None:
        """Let what is being answered go, and the models."""
        with self._changed:
            self._closing = True
            for job in (*self._waiting, *self._now):
                job.gone.set()
            self._changed.notify()
        self._thread.join()

    @property
    def names(self) -> list[str]:
        """Of the models that can be asked."""
        return list(self._given)

    @property
    def alive(self) -> bool:
        """Whether questions are answered."""
        return self._thread.is_alive()

    @property
    def answering(self) -> int:
        """Questions that are answered now."""
        return sum(not job.ended for job in self._now)

    @property
    def waiting(self) -> int:
        """Questions that nobody has begun to answer."""
        return len(self._waiting)

    def ask(self, question: Question, tell: Callable[[Told], None]) -> Job:
        """Put a question; `tell` is called by the desk's thread.

        Raises:
            TrainingDataError: the template refuses it. NoRoomError: it fills the context. FullError: too many wait.
        """
        with self._changed:
            self._coming += 1
        try:
            return self._put(question, tell)
        finally:
            with self._changed:
                self._coming -= 1

    def _put(self, question: Question, tell: Callable[[Told], None]) -> Job:
        job = make_job(self._served[question.model], question, tell)
        with self._changed:
            if len(self._waiting) >= MOST_WAITING:
                raise FullError
            self._waiting.append(job)
            self._changed.notify()
        return job

    def _run(self) -> None:
        with ExitStack() as stack:
            try:
                self._served, self._use = load_models(self._given, self._inference, stack)
            except Exception as e:  # noqa: BLE001 - told to whoever waits for the models
                self._failed = e
                return
            finally:
                self._ready.set()
            while jobs := self._next():
                self._answer(jobs)

    def _next(self) -> list[Job]:
        """The jobs that are answered together; empty: there is an end of it."""
        with self._changed:
            # Those who were answered just now may ask again, beside those who wait already.
            expected = len(self._waiting) + self._before
            while True:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                self._gather(expected)
                if self._closing:
                    return []
                self._waiting = deque(job for job in self._waiting if not job.gone.is_set())
                if self._waiting:
                    jobs = self._together()
                    for job in jobs:
                        self._waiting.remove(job)
                    self._now, self._before = jobs, len(jobs)
                    return jobs

    def _gather(self, expected: int) -> None:
        """Give those a short while who ask with the first one: else, of eight who ask again and again, one is answered
        alone and seven after it, each time. Nobody is waited for where one asks alone.
        """
        latest = time.monotonic() + _ALL
        while not self._closing and time.monotonic() < latest:
            known = len(self._waiting)
            if known >= self._inference.batch_size or (known >= expected and not self._coming):
                return
            self._changed.wait(_NEXT_ONE)
            if len(self._waiting) == known and not self._coming:
                return

    def _together(self, under_way: Sequence[Job] = ()) -> list[Job]:
        """Those that wait and are answered now: the first one and what of its model fits beside it; beside those under
        way, who came before the first that is of another model or doesn't fit.
        """
        found, beside = list[Job](), list(under_way)
        for job in self._waiting:
            longest = max(len(one.ids) + one.room for one in (*beside, job))
            fits = (
                len(beside) < self._inference.batch_size and longest * (len(beside) + 1) <= self._inference.batch_tokens
            )
            if beside and not (fits and job.question.model == beside[0].question.model):
                if under_way:
                    break
                continue
            found.append(job)
            beside.append(job)
        return found

    def _answer(self, jobs: Sequence[Job]) -> None:
        failed: Exception | None = None
        try:
            self._use(jobs[0].question.model)
            self._served[jobs[0].question.model].answer_live([self._live(job) for job in jobs], self._more)
        except Exception as e:  # noqa: BLE001 - one batch is lost, the desk goes on
            failed = e if isinstance(e, AssayError) else RuntimeError(f"{type(e).__name__}: {e!s:.300}")
        for job in self._now:
            if not job.ended:
                self._end(job, failed or RuntimeError("the answer has no end"))
        self._now = []

    def _more(self) -> list[Live]:
        """Those that join the ones under way."""
        if not self._waiting:
            return []
        with self._changed:
            under_way = [job for job in self._now if not job.ended]
            joining = [job for job in self._together(under_way) if not job.gone.is_set()] if under_way else []
            for job in joining:
                self._waiting.remove(job)
            self._now = under_way + joining
            self._before = len(self._now)
            return [self._live(job) for job in joining]

    def _end(self, job: Job, failed: Exception | None = None) -> None:
        self.answered += 1
        job.end(failed)

    def _live(self, job: Job) -> Live:
        q = job.question
        return Live(
            job.ids, job.room, job.hear, lambda: self._end(job), temperature=q.temperature, top_p=q.top_p, seed=q.seed
        )
