"""Executors give equal results in order; processes that are killed lose nothing, and what kills them is named."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from pydantic import ValidationError
from support.labour import always_killed, dividing, doubling, killed_once, saying_where, unable

from steps.contracts.errors import WorkerDiedError
from steps.contracts.execution import Executor, Inline, Work
from steps.contracts.locks import remove_left
from steps.contracts.storage import STATE, WORK
from steps.engines.execution.config import ExecutorConfig
from steps.engines.execution.processes import Processes

ROOT = Path(__file__).parents[3]
RAY = pytest.param("ray", marks=[pytest.mark.slow, pytest.mark.skipif(not find_spec("ray"), reason="ray is an extra")])


def executor(kind: str, workers: int = 2) -> Executor:
    return ExecutorConfig.model_validate({"kind": kind, "workers": None if kind == "inline" else workers}).executor()


@pytest.mark.parametrize("kind", ["inline", "processes", RAY])
def test_results_come_in_the_order_of_the_items(kind: str) -> None:
    with executor(kind).open(Work(doubling, None, "t")) as pool:
        assert list(pool.results(range(100))) == [2 * n for n in range(100)]
        assert list(pool.results([])) == []
        assert list(pool.results([7])) == [14]


@pytest.mark.parametrize("kind", ["inline", "processes", RAY])
def test_an_error_of_the_work_reaches_the_caller_at_its_place(kind: str) -> None:
    with executor(kind).open(Work(dividing, 10, "t")) as pool:
        results = pool.results([5, 2, 0, 1])
        assert [next(results), next(results)] == [2, 5]
        with pytest.raises(ZeroDivisionError):
            next(results)


@pytest.mark.parametrize("kind", ["processes", RAY])
def test_an_error_of_the_preparation_reaches_the_caller(kind: str) -> None:
    with executor(kind).open(Work(unable, "no model", "t")) as pool, pytest.raises(ValueError, match="no model"):
        list(pool.results([1, 2, 3]))


def test_few_items_are_taken_before_their_results_are_wanted() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        while taken < 300:
            taken += 1
            yield taken

    with Processes(2).open(Work(doubling, None, "t")) as pool:
        for done, result in enumerate(pool.results(items()), 1):
            assert result == 2 * done
            assert taken <= done + 2 * 4


def test_a_single_item_is_done_here_and_more_are_done_elsewhere() -> None:
    work = Work(saying_where, None, "t")
    with Processes(2).open(work, here=saying_where(None)) as pool:
        assert set(pool.results([1])) == {os.getpid()}
        elsewhere = set(pool.results(range(50)))
        assert len(elsewhere) == 2 and os.getpid() not in elsewhere


@pytest.mark.parametrize("kind", ["processes", RAY])
def test_a_killed_worker_loses_nothing(tmp_path: Path, kind: str) -> None:
    marker = tmp_path / "killed"
    with executor(kind).open(Work(killed_once, str(marker), "t")) as pool:
        assert list(pool.results(range(40))) == [2 * n for n in range(40)]
        assert marker.exists()
        assert list(pool.results(range(3))) == [0, 2, 4]


def test_a_worker_that_is_killed_while_idle_is_replaced() -> None:
    with Processes(2).open(Work(saying_where, None, "t")) as pool:
        before = set(pool.results(range(10)))
        for process in before:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.5)
        assert before.isdisjoint(pool.results(range(10)))


@pytest.mark.parametrize("kind", ["processes", RAY])
def test_what_always_kills_is_named_and_the_pool_goes_on(kind: str) -> None:
    with executor(kind).open(Work(always_killed, 13, "scrub")) as pool:
        with pytest.raises(WorkerDiedError, match=r"scrub: worker processes died 3 times(.|\n)*fewer workers") as e:
            list(pool.results(range(40)))
        assert e.value.item == 13
        assert list(pool.results(range(5))) == [0, 2, 4, 6, 8]


INTERRUPTED = """
import signal, sys
from support.labour import sleeping
from steps.contracts.execution import Work
from steps.engines.execution.processes import Processes

# What starts the tests in the background may have it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
if __name__ == "__main__":
    with Processes(2).open(Work(sleeping, sys.argv[1], "t")) as pool:
        list(pool.results(range(10)))
"""


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_at_once_with_what_started_them(tmp_path: Path, sign: signal.Signals) -> None:
    script = tmp_path / "main.py"
    script.write_text(INTERRUPTED)
    seen = tmp_path / "seen"
    seen.mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    # In a group of its own, and the whole group gets Ctrl-C, as on a terminal.
    process = subprocess.Popen([sys.executable, str(script), str(seen)], env=environment, start_new_session=True)
    _until(lambda: len(list(seen.iterdir())) == 2)
    workers = [int(p.name) for p in seen.iterdir()]
    if sign == signal.SIGINT:
        os.killpg(process.pid, sign)
    else:
        process.kill()
    assert process.wait(10) == -sign
    _until(lambda: not any(map(_runs, workers)))


RAY_KILLED = """
import sys
from support.labour import sleeping
from steps.contracts.execution import Work
from steps.engines.execution.config import ExecutorConfig

if __name__ == "__main__":
    with ExecutorConfig(kind="ray", workers=2).executor().open(Work(sleeping, sys.argv[1], "t")) as pool:
        list(pool.results(range(10)))
"""


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("ray"), reason="ray is an extra")
def test_what_ray_spills_lies_below_the_state_and_goes_after_a_kill(tmp_path: Path) -> None:
    seen, state = tmp_path / "seen", tmp_path / "state"
    seen.mkdir()
    script = tmp_path / "main.py"
    script.write_text(RAY_KILLED)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]), STATE: str(state)}
    process = subprocess.Popen([sys.executable, str(script), str(seen)], env=environment)
    try:
        _until(lambda: len(list(seen.iterdir())) == 2, 120)
        remove_left(state / WORK)
        (folder,) = (state / WORK).iterdir()
        assert list(folder.glob("ray/session_*/sockets/plasma_store"))
        assert folder.stat().st_mode & 0o777 == 0o700
    finally:
        process.kill()
    process.wait(10)
    named = [
        p for p in Path(tempfile.gettempdir()).glob("assay-ray-*") if p.is_symlink() and p.readlink().parent == folder
    ]
    _until(lambda: not any(_runs(int(p.name)) for p in seen.iterdir()))
    remove_left(state / WORK)
    assert not folder.exists()
    # A name that leads nowhere is all that is left.
    (name,) = named
    assert not name.exists()
    name.unlink()


def _runs(process: int) -> bool:
    status = Path(f"/proc/{process}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def _until(true: object, seconds: float = 30) -> None:
    assert callable(true)
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it didn't happen"
        time.sleep(0.05)


def test_the_executor_of_a_config() -> None:
    assert ExecutorConfig().executor() == Inline()
    assert ExecutorConfig(kind="processes", workers=3).executor() == Processes(3)
    for wrong in ({"workers": 2}, {"kind": "processes", "address": "auto"}, {"kind": "threads"}, {"workers": 0}):
        with pytest.raises(ValidationError):
            ExecutorConfig.model_validate(wrong)
