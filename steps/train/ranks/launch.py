"""Start the ranks of a phase, follow them, and read what they have made.

Each is a process of this machine in a session of its own, which ends when this one does, however it ends: a pipe tells
it. The first rank that fails ends them all, and its error is the run's.
"""

import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steps.contracts import errors
from steps.contracts.errors import AssayError, WorkerDiedError
from steps.contracts.models import ModelFolder
from steps.contracts.storage import writing
from steps.engines.progress.progress import Progress
from steps.train.config import TrainConfig
from steps.train.objectives.objective import EncodedRows
from steps.train.ranks import rank as rank_module
from steps.train.ranks.job import JOB, RESULT, Job, RankError, Result, Stored, read, recorded, write
from steps.train.report import Run
from steps.train.settings import OnMetrics, Plan
from steps.train.start import Start

_ROOT = Path(__file__).resolve().parents[3]
# Chosen: how late a dead rank is noticed.
_POLL_SECONDS = 0.1
# Chosen: what an error says of a log.
_LOG_LINES = 5


@dataclass
class _Rank:
    number: int
    process: subprocess.Popen[bytes]
    log: Path


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


def in_ranks(job: Job, folder: Path, on_metrics: OnMetrics | None) -> tuple[ModelFolder, Run]:
    """Train a phase in `job.plan.processes` processes; one alone sees one GPU.

    Args:
        folder: for the job, logs and the result; it goes at the end.

    Raises:
        WorkerDiedError: a rank ended for a reason of its own. AssayError: what a rank has raised.
    """
    with writing(folder):
        folder.mkdir(parents=True)
        write(job, folder / JOB)
    done_before = int(job.resume.name.rpartition("-")[2]) if job.resume else 0
    try:
        with _started(job, folder) as (ranks, news), Progress("train", unit="steps") as progress:
            _follow(ranks, news, folder, _Told(progress, on_metrics, done_before))
        result: Result = read(Result, folder / RESULT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return ModelFolder(result.model, job.model), result.run


@contextmanager
def _started(job: Job, folder: Path) -> Iterator[tuple[list[_Rank], int]]:
    """All ranks, and the pipe that rank 0 tells its progress through; none is left when the block ends."""
    from torch.distributed import TCPStore

    world = job.plan.processes
    # Where the ranks find each other; bound here, so that no other process takes the port meanwhile.
    store = TCPStore("127.0.0.1", 0, world, is_master=True, wait_for_workers=False)
    alive, held = os.pipe()
    news, told = os.pipe()
    ranks: list[_Rank] = []
    try:
        for number in range(world):
            ranks.append(_start(number, job, folder, store.port, alive, told))
        os.close(told)
        told = -1
        yield ranks, news
    finally:
        _kill(ranks)
        for end in (alive, held, news, told):
            if end >= 0:
                os.close(end)


def _start(number: int, job: Job, folder: Path, port: int, alive: int, told: int) -> _Rank:
    log = folder / f"rank-{number}.log"
    ends = [alive] if number else [alive, told]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", rank_module.__name__, str(folder)],
            env=_environment(os.environ, number, job, port) | _pipes(ends),
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, pass_fds=ends,
            # Ctrl-C reaches the launcher alone.
            start_new_session=True,
        )  # fmt: skip
    return _Rank(number, process, log)


def _pipes(ends: Sequence[int]) -> dict[str, str]:
    return dict(zip((rank_module.ALIVE, rank_module.NEWS), map(str, ends), strict=False))


def _environment(outer: Mapping[str, str], number: int, job: Job, port: int) -> dict[str, str]:
    """A rank's variables: its place, as torch and accelerate read it, and none that speak of another launcher."""
    world = job.plan.processes
    kept = {k: v for k, v in outer.items() if not k.startswith(("ACCELERATE_", "FSDP_", "TORCHELASTIC_"))}
    path = os.pathsep.join(filter(None, [str(_ROOT), outer.get("PYTHONPATH")]))
    place: dict[str, object] = {"OMP_NUM_THREADS": job.config.num_threads}
    if world == 1:
        # The only one it sees: transformers would spread each batch over all.
        place["CUDA_VISIBLE_DEVICES"] = outer.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    else:
        place |= {
            "RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world,
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
            # The store is the launcher's; rank 0 opens none.
            "TORCHELASTIC_USE_AGENT_STORE": True, "TORCHELASTIC_RESTART_COUNT": 0,
        }  # fmt: skip
    # The name of a machine may lead nowhere in a container; all ranks are on this one.
    near = {} if sys.platform == "darwin" else {"GLOO_SOCKET_IFNAME": "lo"}
    return {**near, **kept, **{k: str(v) for k, v in place.items()}, "PYTHONPATH": path, "ASSAY_PROGRESS": "off"}


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


def _follow(ranks: Sequence[_Rank], news: int, folder: Path, told: _Told) -> None:
    """Return when all ranks have ended well.

    Raises:
        AssayError: one of them hasn't.
    """
    with selectors.DefaultSelector() as selector:
        selector.register(news, selectors.EVENT_READ)
        open_ = True
        while True:
            # Looked at first: what a rank has said before its end is read after it.
            codes = [r.process.poll() for r in ranks]
            if open_ and selector.select(_POLL_SECONDS):
                data = os.read(news, 1 << 16)
                open_ = bool(data)
                if not open_:
                    selector.unregister(news)
                told.take(data)
            elif any(codes):
                raise _explained(ranks, folder)
            elif not any(code is None for code in codes):
                return
            elif not open_:
                time.sleep(_POLL_SECONDS)


def _explained(ranks: Sequence[_Rank], folder: Path) -> AssayError:
    """The error of the rank that ended first: those that waited for it have errors of their own."""
    failed = [r for r in ranks if r.process.poll()]
    said = {r.number: _said(folder, r.number) for r in failed}

    def order(r: _Rank) -> tuple[int, float]:
        error, file = said[r.number], rank_module.error_file(folder, r.number)
        if error and _class_of(error):
            return 0, file.stat().st_mtime
        return (2, file.stat().st_mtime) if error else (1, 0.0)

    first = min(failed, key=order)
    where = f"rank {first.number} of {len(ranks)}"
    error = said[first.number]
    if error and (kind := _class_of(error)):
        return kind(error.what, where=f"{where}: {error.where}" if error.where else where, hint=error.hint)
    ended = _ended_by(first.process.returncode)
    log = _last_lines(first.log)
    hint = "the system kills what takes too much memory (dmesg says so)" if first.process.returncode < 0 else None
    return WorkerDiedError(f"the process {ended}" + (f"; its log ends:\n{log}" if log else ""), where=where, hint=hint)


def _said(folder: Path, number: int) -> RankError | None:
    file = rank_module.error_file(folder, number)
    return read(RankError, file) if file.is_file() else None


def _class_of(error: RankError) -> type[AssayError] | None:
    found = getattr(errors, error.kind, None)
    return found if isinstance(found, type) and issubclass(found, AssayError) else None


def _ended_by(code: int) -> str:
    if code < 0:
        return f"was killed by signal {-code} ({signal.Signals(-code).name})"
    return f"ended with status {code}"


def _last_lines(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(line[:200] for line in lines[-_LOG_LINES:])


def _kill(ranks: Sequence[_Rank]) -> None:
    """End what is left of them: they have nothing to put in order, and may wait for each other for ever."""
    for r in ranks:
        if r.process.poll() is None:
            r.process.kill()
    for r in ranks:
        r.process.wait()
