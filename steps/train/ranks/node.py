"""Another machine of a training (`assay join`): it comes when a phase begins, starts its ranks when it is told to, says
how they end, and ends with the phase; also when the step's machine (node 0) is gone.
"""

import json
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steps.contracts.errors import AssayError, InputNotFoundError, ServiceError, StepFailedError, StepTimeoutError
from steps.engines.progress.progress import say
from steps.train.ranks.job import JOB, Job, RankError, read, said_of
from steps.train.ranks.link import Link
from steps.train.ranks.local import Place, class_of, failed, interface_of, started
from steps.train.ranks.meeting import GREETING_SECONDS, LOOK_SECONDS, Notice, proof, qualities

# Chosen: how late a dead rank is noticed.
_POLL_SECONDS = 0.1
# Chosen: how long one address of a machine is tried.
_CONNECT_SECONDS = 3.0
# A folder that was looked at before another machine wrote there is looked at anew after so many seconds, on NFS by
# default at most (acdirmax, nfs(5)).
_VISIBLE_SECONDS = 60.0


@dataclass(frozen=True)
class _Here:
    """This machine among those that train. `host`: of node 0."""

    link: Link
    host: str
    number: int
    nodes: int
    phase: str


def join(folder: Path, seconds: float) -> int:
    """Train with another machine until its run has no further phase; returns how many there were.

    Args:
        folder: where machines announce themselves.
        seconds: how long none may do so.

    Raises:
        StepTimeoutError: none has. ServiceError: node 0 is gone. AssayError: what the run has ended with.
    """
    phases, own = 0, qualities()
    while True:
        here = _met(folder, seconds, own)
        say(f"{here.phase}: joined {here.link.peer} as node {here.number} of {here.nodes}")
        with closing(here.link):
            more = _serve(here)
        phases += 1
        say(f"{here.phase}: done" + (f", {more} more to come" if more else ""))
        if not more:
            return phases


def _met(folder: Path, seconds: float, own: Mapping[str, Any]) -> _Here:
    """Wait for a machine that wants another."""
    until = time.monotonic() + seconds
    say(f"waiting for a training that wants another machine ({folder})")
    while True:
        for notice in _notices(folder):
            here = _greeted(notice, own)
            if here is not None:
                return here
        if time.monotonic() > until:
            raise StepTimeoutError(
                f"no training has asked for another machine within {seconds:.0f} s", where=str(folder),
                hint="nodes: 2 in the infra file of the run, and the same state folder (ASSAY_STATE) on all machines",
            )  # fmt: skip
        time.sleep(LOOK_SECONDS)


def _notices(folder: Path) -> Iterator[Notice]:
    for file in sorted(folder.glob("*.json")):
        with suppress(FileNotFoundError):  # met meanwhile
            yield Notice.model_validate_json(file.read_bytes())


def _greeted(notice: Notice, own: Mapping[str, Any]) -> _Here | None:
    """The place that a machine gives to this one; None: it can't be reached, or has all that it wants.

    Raises:
        AssayError: it won't have this one.
    """
    for host in notice.hosts:
        if host.startswith("127.") and notice.machine != socket.gethostname():
            continue
        try:
            connection = socket.create_connection((host, notice.port), timeout=_CONNECT_SECONDS)
        except OSError:
            continue
        link = Link(connection, f"node 0 ({notice.machine})")
        try:
            answer = _answer(link, notice, own)
        except ServiceError:
            answer = {}
        if "end" in answer:
            link.close()
            _ended(answer["end"], link.peer)
        if "number" in answer:
            return _Here(link, host, answer["number"], answer["nodes"], notice.phase)
        link.close()
    return None


def _answer(link: Link, notice: Notice, own: Mapping[str, Any]) -> dict[str, Any]:
    challenge = (link.take(GREETING_SECONDS) or {}).get("challenge")
    if challenge is None:
        return {}
    link.say(proof=proof(notice.secret, challenge), machine=socket.gethostname(), qualities=own)
    return link.take(GREETING_SECONDS) or {}


def _serve(here: _Here) -> int:
    """Do what node 0 says until it ends; returns how many phases follow."""
    while True:
        said = here.link.take(None)
        assert said is not None, "it was waited for"
        if "job" in said:
            _work(here, said)
        elif "end" in said:
            return _ended(said["end"], here.link.peer)


def _ended(end: dict[str, Any], peer: str) -> int:
    """How many phases follow one that has ended well.

    Raises:
        AssayError: it hasn't.
    """
    if end["error"] is None:
        return int(end["more"])
    error = RankError.model_validate(end["error"])
    kind = class_of(error) or StepFailedError
    raise kind(error.what, where=error.where or peer, hint=error.hint)


def _work(here: _Here, said: dict[str, Any]) -> None:
    """Run this machine's ranks of a job until node 0 says that it is over."""
    folder, link = Path(said["job"]), here.link
    try:
        job = _job(folder)
    except AssayError as e:
        link.say(unable=said_of(e).model_dump(mode="json"))
        _until_stopped(link)
        return
    place = Place(said["first"], said["count"], said["world"], here.host, said["port"], interface_of(link.here))
    told: set[int] = set()
    done = False
    with started(job, folder, place) as (ranks, _):
        while "stop" not in (link.take(_POLL_SECONDS) or {}):
            for one in failed(ranks, folder, told):
                told.add(one.rank)
                link.say(failed=json.loads(one.model_dump_json()))
            if not done and all(r.process.poll() == 0 for r in ranks):
                done = True
                link.say(done=True)
    link.say(idle=True)


def _until_stopped(link: Link) -> None:
    while "stop" not in (link.take(None) or {}):
        pass
    link.say(idle=True)


def _job(folder: Path) -> Job:
    """What is to be trained.

    Raises:
        InputNotFoundError: it isn't to be seen from here.
    """
    _require_visible([folder / JOB])
    job: Job = read(Job, folder / JOB)
    _require_visible(job.places())
    return job


def _require_visible(places: Iterable[Path]) -> None:
    until = time.monotonic() + _VISIBLE_SECONDS
    for place in places:
        while not place.exists():
            if time.monotonic() > until:
                raise InputNotFoundError(
                    f"isn't to be seen from here: {place}",
                    hint="machines that train together need the run's files by the same paths: a state folder"
                    " (ASSAY_STATE) on a file system that all of them have",
                )  # fmt: skip
            time.sleep(LOOK_SECONDS)
