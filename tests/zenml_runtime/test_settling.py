"""Who is taken for dead, and on whose word: owners, hosts, silence, orchestrators; clocks that disagree."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from zenml.enums import ExecutionStatus, StoreType

from steps.zenml_runtime import owner as owners
from steps.zenml_runtime import settling
from steps.zenml_runtime.owner import OWNER, Owner, is_gone, is_mine
from steps.zenml_runtime.settling import settle

ME, SOMEBODY = uuid4(), uuid4()
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(minutes=31)
LATELY = NOW - timedelta(minutes=29)
RUNNING, FAILED, COMPLETED = ExecutionStatus.RUNNING, ExecutionStatus.FAILED, ExecutionStatus.COMPLETED


def this_process() -> Owner:
    pid = os.getpid()
    return Owner(True, owners._account(), "here", owners._place(), pid, owners._started(pid))


def step(name: str, status: ExecutionStatus = RUNNING, sign: datetime = LATELY, threshold: int | None = 30) -> Any:
    return SimpleNamespace(
        id=uuid4(), name=name, status=status, latest_heartbeat=sign, start_time=sign, end_time=None, created=sign,
        heartbeat_threshold=threshold,
    )  # fmt: skip


def run_of(owner: Owner | None, *steps: Any, user: Any = ME) -> Any:
    extra = {OWNER: owner.said()} if owner else {}
    return SimpleNamespace(
        id=uuid4(), name="run-1", status=RUNNING, user_id=user, config=SimpleNamespace(extra=extra), stack=None,
        steps={s.name: s for s in steps}, start_time=LONG_AGO, created=LONG_AGO,
    )  # fmt: skip


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the steps, and "run", that were ended; on a server on which it is noon and who asks is ME."""
    done: list[str] = []
    client = SimpleNamespace(
        active_user=SimpleNamespace(id=ME),
        zen_store=SimpleNamespace(type=StoreType.REST),
        get_pipeline_run=lambda _id, hydrate: SimpleNamespace(status=RUNNING),
    )
    for module in (owners, settling):
        monkeypatch.setattr(module, "Client", lambda: client)
    monkeypatch.setattr(settling, "time_of_store", lambda: NOW)
    monkeypatch.setattr(settling, "_end_step", lambda step, why="": done.append(step.name))
    monkeypatch.setattr(settling, "publish_failed_pipeline_run", lambda _id, exception_info: done.append("run"))
    return done


def orchestrator(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def says(run: ExecutionStatus | None, **steps: ExecutionStatus) -> None:
        monkeypatch.setattr(settling, "_word", lambda _run: settling._Word(run, steps))

    return says


def test_own_run_whose_process_is_gone_has_died(ended: list[str]) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    run = run_of(replace(this_process(), pid=dead.pid), step("train_step"))
    assert settle(run) == "its process is gone" and ended == ["train_step", "run"]


def test_process_of_the_same_number_that_started_later_is_another(ended: list[str]) -> None:
    living = this_process()
    assert not is_gone(living) and is_gone(replace(living, started=str(int(living.started) - 1)))


def test_living_process_is_never_taken_for_dead_however_silent(ended: list[str]) -> None:
    assert settle(run_of(this_process(), step("train_step", sign=LONG_AGO))) == "" and ended == []


@pytest.mark.parametrize("silent", [False, True])
def test_run_of_another_machine_is_ended_by_silence_alone(ended: list[str], silent: bool) -> None:
    elsewhere = replace(this_process(), place="another boot/pid:[1]", host="gpu-7", pid=1)
    why = settle(run_of(elsewhere, step("train_step", sign=LONG_AGO if silent else LATELY)))
    assert ended == (["train_step", "run"] if silent else [])
    assert why == ("no sign of life of gpu-7 since 2026-03-01T11:29:00+00:00" if silent else "")


def test_nothing_of_another_user_is_touched(ended: list[str]) -> None:
    gone = replace(this_process(), started="0")
    assert settle(run_of(gone, step("train_step", sign=LONG_AGO), user=SOMEBODY)) == "" and ended == []


def test_database_without_accounts_tells_accounts_of_the_system_apart(
    ended: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_mine(run_of(replace(this_process(), account="bob"))), "a server knows who it is"
    monkeypatch.setattr(owners, "has_accounts", lambda _store: False)
    assert not is_mine(run_of(replace(this_process(), account="bob"))) and is_mine(run_of(this_process()))


def test_sign_from_the_future_is_no_silence(ended: list[str]) -> None:
    """A clock that jumped back, or one of the two that is wrong."""
    elsewhere = replace(this_process(), place="another boot/pid:[1]")
    assert settle(run_of(elsewhere, step("train_step", sign=NOW + timedelta(days=1)))) == "" and ended == []


def test_run_of_a_version_that_gave_no_signs_is_left_to_its_lock(ended: list[str]) -> None:
    run = run_of(None, step("train_step", sign=LONG_AGO, threshold=None))
    assert settle(run) == "" and ended == []


@pytest.mark.parametrize(
    ("word", "said", "left"),
    [
        (None, None, []),
        (RUNNING, RUNNING, []),
        (RUNNING, FAILED, ["train_step", "run"]),
        (None, FAILED, ["train_step", "run"]),
        (FAILED, None, ["train_step", "run"]),
        (ExecutionStatus.STOPPED, None, ["train_step", "run"]),
        # ZenML hears of the end from the steps themselves.
        (COMPLETED, None, []),
        (None, COMPLETED, []),
    ],
)
def test_orchestrator_says_what_failed(
    ended: list[str], monkeypatch: pytest.MonkeyPatch, word: Any, said: Any, left: list[str]
) -> None:
    orchestrator(monkeypatch)(word, **({"train_step": said} if said else {}))
    run = run_of(replace(this_process(), drives=False), step("ingest_step", COMPLETED), step("train_step"))
    assert bool(settle(run)) == bool(left) and ended == left


def test_step_elsewhere_that_fell_silent_has_lost_its_process(
    ended: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    orchestrator(monkeypatch)(None)
    owner = replace(this_process(), drives=False)
    assert "no sign of life" in settle(run_of(owner, step("train_step", sign=LONG_AGO)))
    assert ended == ["train_step", "run"]
    ended.clear()
    assert settle(run_of(owner, step("a_step", sign=LONG_AGO), step("b_step"))) == "" and ended == ["a_step"]
    ended.clear()
    # Whose signs ZenML was told not to expect.
    assert settle(run_of(owner, step("train_step", sign=LONG_AGO, threshold=None))) == "" and ended == []


def test_run_that_waits_for_a_machine_is_never_taken_for_dead(
    ended: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    orchestrator(monkeypatch)(RUNNING)
    owner = replace(this_process(), drives=False)
    assert settle(run_of(owner, step("ingest_step", COMPLETED, sign=LONG_AGO))) == "" and ended == []


def test_completed_job_of_steps_that_never_told_anything_has_failed_in_the_end(
    ended: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    orchestrator(monkeypatch)(COMPLETED)
    owner = replace(this_process(), drives=False)
    assert settle(run_of(owner)).startswith("its orchestrator calls it completed") and ended == ["run"]


def test_owner_is_json(ended: list[str]) -> None:
    assert Owner(**json.loads(json.dumps(this_process().said()))) == this_process()
