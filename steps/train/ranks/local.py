"""The ranks that run on this machine: started, looked at, ended; and what is said of one that has failed.

Each is a process in a session of its own, which ends when this one does, however it ends: a pipe tells it.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from steps.contracts import errors
from steps.contracts.errors import AssayError, WorkerDiedError
from steps.contracts.reports import Frozen
from steps.train.ranks import rank as rank_module
from steps.train.ranks.job import Job, RankError, read

_ROOT = Path(__file__).resolve().parents[3]
# Chosen: what an error says of a log.
_LOG_LINES = 5


@dataclass(frozen=True)
class Place:
    """The ranks of one machine among those of all.

    Attributes:
        first, count, world: number of its first rank; how many are here; how many there are on all machines.
        host, port: of the store that ranks find each other in.
        interface: of the network that leads to the others; None: torch looks for it.
    """

    first: int
    count: int
    world: int
    host: str
    port: int
    interface: str | None


@dataclass
class Rank:
    """One of them."""

    number: int
    process: subprocess.Popen[bytes]
    log: Path


class Failed(Frozen):
    """A rank that has failed. `code`: its exit status; `said`, `when`: its error, and when; `log`: its last lines."""

    rank: int
    code: int
    said: RankError | None
    when: float
    log: str

    @property
    def order(self) -> tuple[int, float]:
        """The first in this order is the cause: a rank that waited for another has an error of its own, later."""
        if self.said and class_of(self.said):
            return 0, self.when
        return (2, self.when) if self.said else (1, 0.0)


@contextmanager
def started(job: Job, folder: Path, place: Place) -> Iterator[tuple[list[Rank], int]]:
    """The ranks of this machine, and the pipe that rank 0 tells its progress through; none is left when the block
    ends.
    """
    alive, held = os.pipe()
    news, told = os.pipe()
    ranks: list[Rank] = []
    try:
        for local in range(place.count):
            ranks.append(_start(local, job, folder, place, alive, told))
        os.close(told)
        told = -1
        yield ranks, news
    finally:
        _kill(ranks)
        for end in (alive, held, news, told):
            if end >= 0:
                os.close(end)


def _start(local: int, job: Job, folder: Path, place: Place, alive: int, told: int) -> Rank:
    number = place.first + local
    log = folder / f"rank-{number}.log"
    ends = [alive] if number else [alive, told]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", rank_module.__name__, str(folder)],
            env=_environment(os.environ, local, job, place) | _pipes(ends),
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, pass_fds=ends,
            # Ctrl-C reaches the launcher alone.
            start_new_session=True,
        )  # fmt: skip
    return Rank(number, process, log)


def _pipes(ends: Sequence[int]) -> dict[str, str]:
    return dict(zip((rank_module.ALIVE, rank_module.NEWS), map(str, ends), strict=False))


def _environment(outer: Mapping[str, str], local: int, job: Job, place: Place) -> dict[str, str]:
    """A rank's variables: its place, as torch and accelerate read it, and none that speak of another launcher."""
    kept = {k: v for k, v in outer.items() if not k.startswith(("ACCELERATE_", "FSDP_", "TORCHELASTIC_"))}
    path = os.pathsep.join(filter(None, [str(_ROOT), outer.get("PYTHONPATH")]))
    own: dict[str, object] = {"OMP_NUM_THREADS": job.config.num_threads}
    zero = job.plan.zero_stage > 0
    if zero:
        own["DS_ACCELERATOR"] = job.plan.device
    if job.plan.device == "cpu" and zero:
        own["CUDA_VISIBLE_DEVICES"] = ""
    if place.world == 1 and not zero:
        # The only one it sees: transformers would spread each batch over all.
        own["CUDA_VISIBLE_DEVICES"] = outer.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    else:
        own |= {
            "RANK": place.first + local, "LOCAL_RANK": local, "WORLD_SIZE": place.world,
            "LOCAL_WORLD_SIZE": place.count, "MASTER_ADDR": place.host, "MASTER_PORT": place.port,
            # The store is the launcher's; rank 0 opens none.
            "TORCHELASTIC_USE_AGENT_STORE": True, "TORCHELASTIC_RESTART_COUNT": 0,
        }  # fmt: skip
    names = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME") if place.count < place.world else ("GLOO_SOCKET_IFNAME",)
    near = dict.fromkeys(names, place.interface) if place.interface else {}
    return {**near, **kept, **{k: str(v) for k, v in own.items()}, "PYTHONPATH": path, "ASSAY_PROGRESS": "off"}


def loopback() -> str | None:
    """The interface of ranks that are all here: the name of a machine may lead nowhere in a container."""
    return None if sys.platform == "darwin" else "lo"


def interface_of(address: str) -> str | None:
    """The network interface that has an address; None: none that is known."""
    import psutil

    plain = address.removeprefix("::ffff:").partition("%")[0]
    for name, known in psutil.net_if_addrs().items():
        if any(a.family in (socket.AF_INET, socket.AF_INET6) and a.address.partition("%")[0] == plain for a in known):
            return str(name)
    return None


def failed(ranks: Sequence[Rank], folder: Path, known: Collection[int] = ()) -> list[Failed]:
    """Those that have ended badly by now, but for `known` ones."""
    return [_failed(r, folder) for r in ranks if r.number not in known and r.process.poll()]


def _failed(rank: Rank, folder: Path) -> Failed:
    file = rank_module.error_file(folder, rank.number)
    said = read(RankError, file) if file.is_file() else None
    when = file.stat().st_mtime if said else 0.0
    return Failed(rank=rank.number, code=rank.process.returncode, said=said, when=when, log=_last_lines(rank.log))


def explained(one: Failed, where: str) -> AssayError:
    """The error of a rank. `where`: which one it is."""
    if one.said and (kind := class_of(one.said)):
        place = f"{where}: {one.said.where}" if one.said.where else where
        return kind(one.said.what, where=place, hint=one.said.hint)
    ended = _ended_by(one.code)
    hint = "the system kills what takes too much memory (dmesg says so)" if one.code < 0 else None
    return WorkerDiedError(
        f"the process {ended}" + (f"; its log ends:\n{one.log}" if one.log else ""), where=where, hint=hint
    )


def class_of(error: RankError) -> type[AssayError] | None:
    """The class of an error of ours; None: it is another's."""
    found = getattr(errors, error.kind, None)
    return found if isinstance(found, type) and issubclass(found, AssayError) else None


def _ended_by(code: int) -> str:
    if code < 0:
        return f"was killed by signal {-code} ({signal.Signals(-code).name})"
    return f"ended with status {code}"


def _last_lines(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(line[:200] for line in lines[-_LOG_LINES:])


def _kill(ranks: Sequence[Rank]) -> None:
    """End what is left of them: they have nothing to put in order, and may wait for each other for ever."""
    for r in ranks:
        if r.process.poll() is None:
            r.process.kill()
    for r in ranks:
        r.process.wait()
