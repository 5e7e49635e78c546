"""Machines that train together find each other: the step's own announces itself in a folder that all of them see, the
others (`node.py`) come, and show that their code and libraries are the same.

Who knows the secret of the announcement may come, and that lies in the state folder, which is its owner's alone.
"""

import hmac
import os
import platform
import secrets
import select
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from steps.contracts.code import code_of
from steps.contracts.errors import AssayError, ConfigError, ServiceError, StepTimeoutError
from steps.contracts.reports import Frozen
from steps.contracts.storage import write_whole, writing
from steps.engines.progress.progress import say
from steps.train.ranks.config import Ranks
from steps.train.ranks.job import said_of
from steps.train.ranks.link import Link
from steps.train.settings import LIBRARIES, Plan

# Folder of the state folder with the announcements.
MEETINGS = "nodes"
# What trains; by name, since it is what starts the ranks.
_TRAINS = ("steps.train.train", "steps.train.ranks.rank")
# Chosen: how long each answer of a greeting may take.
GREETING_SECONDS = 10.0
# Chosen: how often the folder of announcements, or those who have come, are looked at.
LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Meet:
    """Where machines find each other. `more`: how many of the run's phases they still train after this one."""

    folder: Path
    more: int = 0


class Notice(Frozen):
    """An announcement. `hosts`: names and addresses of the machine, the likeliest first."""

    machine: str
    hosts: tuple[str, ...]
    port: int
    secret: str
    pid: int
    phase: str


@dataclass(frozen=True)
class Node:
    """A machine that has come; the step's own is number 0."""

    number: int
    machine: str
    link: Link

    @property
    def label(self) -> str:
        """For people."""
        return f"node {self.number} ({self.machine})"


@contextmanager
def meeting(ranks: Ranks, plan: Plan, meet: Meet | None, phase: str) -> Iterator[tuple[Node, ...]]:
    """The other machines, in the order in which they came; how the block ends is told to them. None where one trains.

    Raises:
        ConfigError: one of them has other code, other libraries or too few GPUs.
        StepTimeoutError: they haven't come in time.
    """
    if ranks.nodes == 1:
        yield ()
        return
    if meet is None:
        raise ConfigError("several machines need a folder to find each other in", where="training.nodes")
    nodes: list[Node] = []
    end: dict[str, Any] = {"error": None, "more": meet.more}
    try:
        _gather(nodes, ranks, plan, meet.folder, phase)
        yield tuple(nodes)
    except BaseException as e:
        end["error"] = said_of(e).model_dump(mode="json")
        raise
    finally:
        for node in nodes:
            node.link.say(end=end)
            node.link.close()


def _gather(nodes: list[Node], ranks: Ranks, plan: Plan, folder: Path, phase: str) -> None:
    host, port = _host_and_port(ranks.address)
    until = time.monotonic() + ranks.join_seconds
    with ExitStack() as cleanup:
        try:
            listener = cleanup.enter_context(socket.create_server(("", port)))
        except OSError as e:
            raise ServiceError(
                f"port {port} can't be listened on: {e.strerror}", where="training.address", hint="name another port"
            ) from e
        notice = Notice(
            machine=socket.gethostname(), hosts=(host,) if host else _hosts(), port=listener.getsockname()[1],
            secret=secrets.token_hex(32), pid=os.getpid(), phase=phase,
        )  # fmt: skip
        cleanup.enter_context(_announced(notice, folder))
        wanted = ranks.nodes - 1
        say(f"train waits for {wanted} other machine{'s' if wanted > 1 else ''}: run `assay join` there ({folder})")
        own = qualities()
        while len(nodes) < wanted:
            left = until - time.monotonic()
            if left <= 0:
                raise StepTimeoutError(
                    f"{len(nodes)} of {wanted} other machines have joined within {ranks.join_seconds:.0f} s",
                    where=phase, hint=f"run `assay join` on each, with this state folder: {folder.parent}",
                )  # fmt: skip
            if select.select([listener], [], [], min(left, LOOK_SECONDS))[0]:
                _welcome(listener.accept()[0], nodes, notice, ranks, plan, own)
            _drop_gone(nodes)


def _welcome(
    connection: socket.socket, nodes: list[Node], notice: Notice, ranks: Ranks, plan: Plan, own: Mapping[str, Any]
) -> None:
    """Take a machine in, under the lowest number that is free; a stranger is sent away.

    Raises:
        ConfigError: it isn't one that can train with this one.
    """
    link = Link(connection, "a stranger")
    challenge = secrets.token_hex(32)
    link.say(challenge=challenge)
    try:
        hello = link.take(GREETING_SECONDS) or {}
    except ServiceError:
        hello = {}
    if not hmac.compare_digest(str(hello.get("proof")), proof(notice.secret, challenge)):
        link.close()
        return
    number = min(set(range(1, ranks.nodes)) - {n.number for n in nodes})
    link.peer = f"node {number} ({hello['machine']})"
    node = Node(number, str(hello["machine"]), link)
    if why := _unfit(node, hello["qualities"], own, ranks, plan):
        link.say(end={"error": said_of(why).model_dump(mode="json"), "more": 0})
        link.close()
        raise why
    link.say(number=number, nodes=ranks.nodes)
    nodes.append(node)
    nodes.sort(key=lambda n: n.number)
    say(f"{node.label} has joined, {len(nodes)} of {ranks.nodes - 1}")


def _drop_gone(nodes: list[Node]) -> None:
    for node in list(nodes):
        try:
            node.link.take(0.0)
        except ServiceError:
            say(f"{node.label} has left")
            node.link.close()
            nodes.remove(node)


def proof(secret: str, challenge: str) -> str:
    """What only one says who has read the announcement."""
    return hmac.new(secret.encode(), challenge.encode(), sha256).hexdigest()


def qualities() -> dict[str, Any]:
    """What must be the same on all machines, and how many GPUs there are."""
    import torch

    return {
        "versions": {
            "Python": platform.python_version(),
            **{name: version(name) for name in LIBRARIES},
            "deepspeed": version("deepspeed") if find_spec("deepspeed") else "none",
        },
        "code": code_of(_TRAINS),
        "gpus": torch.cuda.device_count(),
    }


def _unfit(
    node: Node, theirs: Mapping[str, Any], own: Mapping[str, Any], ranks: Ranks, plan: Plan
) -> AssayError | None:
    """Why a machine can't train with this one; None: it can."""
    others = [f"{name} {theirs['versions'].get(name, 'none')} (here {had})"
              for name, had in own["versions"].items()
              if theirs["versions"].get(name) != had and (name != "deepspeed" or plan.zero_stage)]  # fmt: skip
    if others:
        return ConfigError(
            f"has other versions than node 0: {', '.join(others)}", where=node.label,
            hint="install the same from constraints.txt on all machines",
        )  # fmt: skip
    code = sorted(m for m in {*own["code"], *theirs["code"]} if own["code"].get(m) != theirs["code"].get(m))
    if code:
        more = f" and {len(code) - 3} more" if len(code) > 3 else ""
        return ConfigError(
            f"has other code than node 0: {', '.join(code[:3])}{more}", where=node.label,
            hint="check the same commit out on all machines",
        )  # fmt: skip
    if plan.device == "cuda" and theirs["gpus"] < ranks.processes:
        return ConfigError(
            f"{ranks.processes} processes train on each machine, one per GPU, and torch sees {theirs['gpus']}",
            where=node.label, hint="set training.processes to what every machine has",
        )  # fmt: skip
    return None


@contextmanager
def _announced(notice: Notice, folder: Path) -> Iterator[None]:
    """A file that says where this machine listens; those that died left theirs."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for file in folder.glob(f"{notice.machine}-*.json"):
        pid = file.stem.rpartition("-")[2]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            file.unlink(missing_ok=True)
    file = folder / f"{notice.machine}-{notice.pid}.json"
    write_whole(file, notice.model_dump_json(indent=1))
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink(missing_ok=True)


def _host_and_port(address: str | None) -> tuple[str, int]:
    """("", 0): any."""
    host, colon, port = (address or "").rpartition(":")
    if not colon:
        return port, 0
    if not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"{address!r} is no HOST:PORT", where="training.address")
    return host, int(port)


def _hosts() -> tuple[str, ...]:
    """Names and addresses of this machine, those that lead nowhere else last."""
    import psutil

    addresses = [a.address for known in psutil.net_if_addrs().values() for a in known if a.family == socket.AF_INET]
    far = [a for a in addresses if not a.startswith("127.")]
    return tuple(dict.fromkeys([socket.getfqdn(), socket.gethostname(), *far, "127.0.0.1"]))
