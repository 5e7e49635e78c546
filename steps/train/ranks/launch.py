"""Start the ranks of a phase, follow them, and read what they have made: those of this machine, and through the links
to others (`meeting.py`, `node.py`) theirs.

The first rank that fails ends them all, and its error is the run's.
"""

import json
import os
import selectors
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steps.contracts.errors import AssayError, ServiceError, WorkerDiedError
from steps.contracts.models import ModelFolder
from steps.contracts.storage import writing
from steps.engines.progress.progress import Progress
from steps.train.config import TrainConfig
from steps.train.objectives.objective import EncodedRows
from steps.train.ranks.job import JOB, RESULT, Job, RankError, Result, Stored, read, recorded, write
from steps.train.ranks.local import Failed, Place, Rank, class_of, explained, failed, interface_of, loopback, started
from steps.train.ranks.meeting import Node
from steps.train.report import Run
from steps.train.settings import OnMetrics, Plan
from steps.train.start import Start

# Chosen: how late a dead rank is noticed.
_POLL_SECONDS = 0.1
# Chosen: how long it may take until a machine tells of a rank whose end was noticed by others before.
_CAUSE_SECONDS = 5.0
# Chosen: how long a machine may take to end its ranks.
_STOP_SECONDS = 30.0


def job_of(
    start: Start,
    rows: EncodedRows,
    config: TrainConfig,
    plan: Plan,
    dataset_digest: str,
    model: Path,
    home: Path,
    resume: Path | None,
    tokens: Path,
    journal: Path | None,
) -> Job:
    """A phase as its ranks are given it; the encoded rows are laid out below `tokens`, in their order."""
    folders: list[Path | None] = []
    for name, part in (("train", rows.train), ("validation", rows.validation)):
        if part is not None:
            with writing(tokens):
                part.save_to_disk(str(tokens / name))
        folders.append(tokens / name if part is not None else None)
    assert folders[0] is not None
    origins = rows.validation_encoding.origins if rows.validation_encoding else None

    def both(one: Start) -> tuple[Stored, Stored | None]:
        return recorded(one.base), recorded(one.adapter) if one.adapter else None

    base, adapter = both(start)
    return Job(
        base=base, adapter=adapter, asked={k: both(one) for k, one in start.asked.items()}, config=config, plan=plan,
        train=folders[0], validation=folders[1], sources=tuple(origins.names) if origins else (),
        source_codes=tuple(origins.codes.tolist()) if origins else (),
        end_tokens=tuple(sorted(rows.encoding.lint.end_tokens)), dataset_digest=dataset_digest, model=model,
        home=home, resume=resume, journal=journal,
    )  # fmt: skip


def in_ranks(
    job: Job, folder: Path, on_metrics: OnMetrics | None, nodes: Sequence[Node] = ()
) -> tuple[ModelFolder, Run]:
    """Train a phase in `job.plan.processes` processes; one alone sees one GPU.

    Args:
        folder: for the job, logs and the result; it goes at the end.
        nodes: other machines, of which each has as many processes as this one.

    Raises:
        WorkerDiedError: a rank ended for a reason of its own. AssayError: what a rank has raised.
    """
    from torch.distributed import TCPStore

    with writing(folder):
        folder.mkdir(parents=True)
        write(job, folder / JOB)
    done_before = int(job.resume.name.rpartition("-")[2]) if job.resume else 0
    try:
        # Where the ranks find each other; bound here, so that no other process takes the port meanwhile.
        store = TCPStore("127.0.0.1", 0, job.plan.processes, is_master=True, wait_for_workers=False)
        place = _place(job, store.port, nodes)
        with (
            _working(nodes, folder, place),
            started(job, folder, place) as (ranks, news),
            Progress("train", unit="steps") as progress,
        ):
            _Following(ranks, news, folder, nodes, place).until_end(_Told(progress, on_metrics, done_before))
        result: Result = read(Result, folder / RESULT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return ModelFolder(result.model, job.model), result.run


def _place(job: Job, port: int, nodes: Sequence[Node]) -> Place:
    """The ranks of this machine: the first ones."""
    found = [name for node in nodes if (name := interface_of(node.link.here))]
    far = next((name for name in found if name != loopback()), None) or next(iter(found), None)
    world = job.plan.processes
    return Place(0, world // job.plan.nodes, world, "127.0.0.1", port, far if nodes else loopback())


@contextmanager
def _working(nodes: Sequence[Node], folder: Path, place: Place) -> Iterator[None]:
    """The other machines have started their ranks, and none of these is left when the block ends."""
    for node in nodes:
        first = node.number * place.count
        node.link.say(job=str(folder), first=first, count=place.count, world=place.world, port=place.port)
    try:
        yield
    finally:
        for node in nodes:
            node.link.say(stop=True)
        until = time.monotonic() + _STOP_SECONDS
        for node in nodes:
            with suppress(ServiceError):
                while "idle" not in (node.link.take(max(0.0, until - time.monotonic())) or {"idle": None}):
                    pass


class _Told:
    """What rank 0 says, for people and for the tracker."""

    def __init__(self, progress: Progress, on_metrics: OnMetrics | None, done: int) -> None:
        self.progress, self.on_metrics, self.done = progress, on_metrics, done
        self._rest = b""

    def take(self, data: bytes) -> None:
        """Some bytes of it; what isn't a whole line waits for the rest."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(json.loads(line))

    def _take(self, said: dict[str, Any]) -> None:
        if "metrics" in said:
            if self.on_metrics:
                self.on_metrics(said["step"], said["metrics"])
            return
        self.progress.total, self.progress.note = said["total"], said["note"]
        self.progress.advance(said["done"])


@dataclass
class _Trouble:
    """A reason to end; of several the first in their order is the cause."""

    order: tuple[int, float]
    error: AssayError


class _Following:
    """The ranks of a phase, here and on other machines, until all have ended well or one hasn't."""

    def __init__(self, ranks: Sequence[Rank], news: int, folder: Path, nodes: Sequence[Node], place: Place) -> None:
        self.ranks, self.news, self.folder, self.nodes, self.place = ranks, news, folder, nodes, place
        self.troubles: list[_Trouble] = []
        self.known: set[int] = set()
        self.at_work = {node.number for node in nodes}
        self.since = 0.0

    def until_end(self, told: _Told) -> None:
        """Return when all have ended well.

        Raises:
            AssayError: one of them hasn't.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self.news, selectors.EVENT_READ)
            for node in self.nodes:
                selector.register(node.link, selectors.EVENT_READ, node)
            while True:
                # Looked at first: what a rank has said before its end is read after it.
                ended = all(r.process.poll() == 0 for r in self.ranks)
                if self._listened(selector, told):
                    continue
                self._look()
                if self.troubles:
                    self._raise_if_told()
                elif ended and not self.at_work:
                    return

    def _listened(self, selector: selectors.BaseSelector, told: _Told) -> bool:
        """Whether there was something to hear within a moment."""
        if not selector.get_map():
            time.sleep(_POLL_SECONDS)
            return False
        ready = selector.select(_POLL_SECONDS)
        for key, _ in ready:
            if key.data is not None:
                if not self._heard(key.data):
                    selector.unregister(key.data.link)
                continue
            data = os.read(self.news, 1 << 16)
            if not data:
                selector.unregister(self.news)
            told.take(data)
        return bool(ready)

    def _heard(self, node: Node) -> bool:
        """Take what a machine says; False: it is gone."""
        try:
            for said in node.link.waiting():
                if "failed" in said:
                    self._note(Failed.model_validate(said["failed"]), node)
                elif "unable" in said:
                    error = RankError.model_validate(said["unable"])
                    kind = class_of(error) or WorkerDiedError
                    self.troubles.append(_Trouble((0, 0.0), kind(error.what, where=node.label, hint=error.hint)))
                elif "done" in said:
                    self.at_work.discard(node.number)
        except ServiceError as e:
            self.troubles.append(_Trouble((1, 0.0), WorkerDiedError(e.what, where=node.label, hint=e.hint)))
            return False
        return True

    def _look(self) -> None:
        for one in failed(self.ranks, self.folder, self.known):
            self.known.add(one.rank)
            self._note(one, None)

    def _note(self, one: Failed, node: Node | None) -> None:
        where = f"rank {one.rank} of {self.place.world}"
        if self.nodes:
            where += f" on {node.label if node else f'node 0 ({socket.gethostname()})'}"
        self.troubles.append(_Trouble(one.order, explained(one, where)))

    def _raise_if_told(self) -> None:
        """Raise the cause. Of several machines it may be heard of after what it has led to."""
        self.since = self.since or time.monotonic()
        cause = min(self.troubles, key=lambda t: t.order)
        if not self.nodes or cause.order[0] == 0 or time.monotonic() - self.since > _CAUSE_SECONDS:
            raise cause.error
