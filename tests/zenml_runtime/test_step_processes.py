"""Which step starts when, and what is left of them; the processes are real, what they run is short."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
from zenml.enums import ExecutionMode, ExecutionStatus

from steps.contracts.errors import WorkerDiedError
from steps.zenml_runtime import step_processes
from steps.zenml_runtime.step_processes import _Run

FAIL_FAST, GOING_ON = ExecutionMode.FAIL_FAST, ExecutionMode.CONTINUE_ON_FAILURE
DIAMOND = {"start": set[str](), "left": {"start"}, "right": {"start"}, "end": {"left", "right"}}


class Steps(_Run):
    """Runs a line of Python in place of each step."""

    def __init__(self, codes: dict[str, str], mode: ExecutionMode, at_once: int) -> None:
        super().__init__(uuid4(), uuid4(), {}, mode, at_once)
        self.codes, self.started, self.most = codes, list[str](), 0

    def _start(self, name: str, alive: int) -> subprocess.Popen[bytes]:
        self.started.append(name)
        self._living[name] = subprocess.Popen(
            [sys.executable, "-c", self.codes.get(name, "")], pass_fds=[alive], start_new_session=True
        )
        self.most = max(self.most, len(self._living))
        return self._living[name]


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """ZenML's store as far as it is asked: which steps of the run it knows, and what is said of them."""
    known = SimpleNamespace(steps={}, said=[])
    client = SimpleNamespace(get_pipeline_run=lambda _run: known)
    monkeypatch.setattr(step_processes, "Client", lambda: client)
    monkeypatch.setattr(step_processes, "note_usage", lambda _run: known.said.append("usage"))
    monkeypatch.setattr(
        step_processes,
        "publish_step_run_status_update",
        lambda one, status, exception_info=None: known.said.append(
            (one, status, exception_info.message if exception_info else "")
        ),
    )
    return known


def known_step(status: ExecutionStatus) -> SimpleNamespace:
    return SimpleNamespace(id=uuid4(), status=status)


@pytest.mark.parametrize(("at_once", "most"), [(1, 1), (2, 2), (8, 2)])
def test_a_step_starts_when_those_before_it_have_ended(at_once: int, most: int, store: SimpleNamespace) -> None:
    pause = "import time; time.sleep(0.3)"
    run = Steps({"left": pause, "right": pause}, FAIL_FAST, at_once)
    run.execute(DIAMOND)
    assert run.started == ["start", "left", "right", "end"] and run.most == most
    assert store.said == ["usage"], "once, before the last step"


@pytest.mark.parametrize(
    ("mode", "started"), [(FAIL_FAST, {"start", "bad", "slow"}), (GOING_ON, {"start", "bad", "slow", "after slow"})]
)
def test_a_failure_ends_the_others_or_only_what_follows(
    mode: ExecutionMode, started: set[str], store: SimpleNamespace, tmp_path: Path
) -> None:
    store.steps["bad"] = known_step(ExecutionStatus.FAILED)
    done = tmp_path / "done"
    slow = f"import time; time.sleep(2); open({str(done)!r}, 'w')"
    run = Steps({"bad": "import time; time.sleep(0.2); raise SystemExit(3)", "slow": slow}, mode, 4)
    run.execute({
        "start": set(), "bad": {"start"}, "slow": {"start"}, "after bad": {"bad"}, "after slow": {"slow"}
    })  # fmt: skip
    assert set(run.started) == started and done.exists() == (mode == GOING_ON)
    assert store.said in ([], ["usage"]), "the step has said itself why it failed"


def test_a_killed_step_is_said_to_be_killed(store: SimpleNamespace) -> None:
    store.steps["start"] = known_step(ExecutionStatus.RUNNING)
    run = Steps({"start": "import os; os.kill(os.getpid(), 9)"}, FAIL_FAST, 2)
    run.execute(DIAMOND)
    ((step, status, why),) = (one for one in store.said if one != "usage")
    assert (step, status) == (store.steps["start"].id, ExecutionStatus.FAILED)
    assert why.startswith("its process was killed by signal 9 (SIGKILL); the system kills what takes too much memory")
    assert run.started == ["start"]


KILLED = "import os; os.kill(os.getpid(), 9)"


def test_every_step_that_is_killed_is_said_to_be(store: SimpleNamespace) -> None:
    store.steps |= {n: known_step(ExecutionStatus.RUNNING) for n in ("left", "right")}
    Steps({"left": KILLED, "right": KILLED}, GOING_ON, 2).execute(DIAMOND)
    said = {(one, status) for one, status, _ in (s for s in store.said if s != "usage")}
    assert said == {(store.steps[n].id, ExecutionStatus.FAILED) for n in ("left", "right")}


def test_a_step_that_does_not_end_when_told_is_stopped(store: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_processes, "_GRACE_SECONDS", 0.1)
    store.steps |= {"left": known_step(ExecutionStatus.FAILED), "right": known_step(ExecutionStatus.RUNNING)}
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    Steps({"left": "import time; time.sleep(1); raise SystemExit(3)", "right": deaf}, FAIL_FAST, 2).execute(DIAMOND)
    assert [s for s in store.said if s != "usage"] == [(store.steps["right"].id, ExecutionStatus.STOPPED, "")]


def test_a_process_that_never_came_to_its_step_is_an_error() -> None:
    run = Steps({"start": "raise SystemExit(5)"}, FAIL_FAST, 2)
    with pytest.raises(WorkerDiedError, match="the process of start ended with status 5 before its step began"):
        run.execute(DIAMOND)


def test_what_interrupts_the_launcher_ends_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Steps({"start": "import time; time.sleep(60)"}, FAIL_FAST, 2)

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(step_processes, "wait", interrupt)
    before = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run.execute(DIAMOND)
    assert time.monotonic() - before < 20


def test_a_step_and_its_children_end_with_their_launcher(tmp_path: Path) -> None:
    """Killed in a way that nothing can be done about."""
    alive, held = os.pipe()
    code = (
        "import subprocess, sys, time\n"
        "from steps.zenml_runtime.step_process import end_with\n"
        f"end_with({alive})\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, pass_fds=[alive], start_new_session=True
    )
    os.close(alive)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    os.close(held)
    assert process.wait(20) == -signal.SIGKILL
    for _ in range(200):
        if not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split(")")[1][:3]:
            return
        time.sleep(0.05)
    pytest.fail("the child lives on")
