"""ZenML orchestrator `processes`: every step in a process of its own on this machine, as many at once as the graph of
the run allows.

What a step took (memory, threads, a library's state) ends with it, and what doesn't depend on each other runs side by
side: the base and the tuned model are evaluated together. All run in the checkout of their launcher and never outlive
it.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

from pydantic import Field, PositiveInt
from zenml.client import Client
from zenml.enums import ExecutionMode, ExecutionStatus, StackComponentType
from zenml.exceptions import EntityExistsError
from zenml.models import ExceptionInfo
from zenml.orchestrators import BaseOrchestrator, BaseOrchestratorConfig, BaseOrchestratorFlavor
from zenml.orchestrators.publish_utils import publish_step_run_status_update

from steps.contracts.errors import WorkerDiedError
from steps.zenml_runtime.context import source_root
from steps.zenml_runtime.state import PROCESSES
from steps.zenml_runtime.step_process import PARENT, StepProcess
from steps.zenml_runtime.usage import note_usage

_RUN = "ASSAY_ORCHESTRATOR_RUN"
# Chosen: a step that is asked to end may write its checkpoint before it is killed.
_GRACE_SECONDS = 30


class ProcessesConfig(BaseOrchestratorConfig):
    """How many steps run at once."""

    parallel_steps: PositiveInt = Field(
        2, description="steps at once, where the graph allows it; each holds its own model in memory (chosen)"
    )

    @property
    def is_local(self) -> bool:
        """Steps read the files of this machine."""
        return True

    @property
    def is_synchronous(self) -> bool:
        """The launcher waits."""
        return True


class ProcessesOrchestrator(BaseOrchestrator):
    """Starts each step when those it waits for have ended well."""

    @property
    def config(self) -> ProcessesConfig:
        """Its settings."""
        assert isinstance(self._config, ProcessesConfig)
        return self._config

    @property
    def supported_execution_modes(self) -> list[ExecutionMode]:
        """All of ZenML's."""
        return list(ExecutionMode)

    def get_orchestrator_run_id(self) -> str:
        """Of the run that this process executes a step of."""
        return os.environ[_RUN]

    def submit_pipeline(
        self,
        snapshot: Any,
        stack: Any,
        base_environment: dict[str, str],
        step_environments: dict[str, dict[str, str]],
        placeholder_run: Any = None,
    ) -> None:
        """Run all steps of the snapshot; returns when the last has ended.

        Raises:
            WorkerDiedError: a process ended before ZenML knew of its step.
        """
        waits_for = {name: set(step.spec.upstream_steps) for name, step in snapshot.step_configurations.items()}
        mode = ExecutionMode(snapshot.pipeline_configuration.execution_mode)
        _Run(snapshot.id, placeholder_run.id, step_environments, mode, self.config.parallel_steps).execute(waits_for)


class ProcessesFlavor(BaseOrchestratorFlavor):
    """What ZenML knows it by."""

    @property
    def name(self) -> str:
        """In stack files."""
        return PROCESSES

    @property
    def config_class(self) -> type[ProcessesConfig]:
        """Its settings."""
        return ProcessesConfig

    @property
    def implementation_class(self) -> type[ProcessesOrchestrator]:
        """What runs."""
        return ProcessesOrchestrator


def know_processes() -> None:
    """Make the flavour known to ZenML's store, once."""
    client = Client()
    if not client.list_flavors(name=f"equals:{PROCESSES}", type=StackComponentType.ORCHESTRATOR.value).items:
        # Somebody else at the same moment, on a shared server.
        with suppress(EntityExistsError):
            client.create_flavor(f"{__name__}.{ProcessesFlavor.__name__}", StackComponentType.ORCHESTRATOR)


class _Run:
    """The processes of one run while they live."""

    def __init__(
        self, snapshot: UUID, run: UUID, environments: Mapping[str, dict[str, str]], mode: ExecutionMode, at_once: int
    ) -> None:
        self._snapshot, self._run, self._environments = snapshot, run, environments
        self._mode, self._at_once = mode, at_once
        self._id = str(uuid4())
        self._living: dict[str, subprocess.Popen[bytes]] = {}

    def execute(self, waits_for: Mapping[str, set[str]]) -> None:
        """Every step once those that it waits for have ended well."""
        # Each process ends when nobody holds the other end any more.
        alive, held = os.pipe()
        with ThreadPoolExecutor(self._at_once) as waiting:
            try:
                self._execute(waits_for, alive, waiting)
            finally:
                self._end_all()
                os.close(held)
                os.close(alive)

    def _execute(self, waits_for: Mapping[str, set[str]], alive: int, waiting: ThreadPoolExecutor) -> None:
        left, done, failed = dict(waits_for), set[str](), set[str]()
        ends: dict[Future[int], str] = {}
        while True:
            for name in self._ready(left, done, failed)[: self._at_once - len(ends)]:
                del left[name]
                if not left and not ends:
                    note_usage(self._run)
                ends[waiting.submit(self._start(name, alive).wait)] = name
            if not ends:
                return
            for end in wait(ends, return_when=FIRST_COMPLETED).done:
                self._ended(ends.pop(end), end.result(), done, failed)

    def _ready(self, left: Mapping[str, set[str]], done: set[str], failed: set[str]) -> list[str]:
        if failed and self._mode != ExecutionMode.CONTINUE_ON_FAILURE:
            return []
        return [name for name, first in left.items() if first <= done]

    def _start(self, name: str, alive: int) -> subprocess.Popen[bytes]:
        arguments = StepProcess.get_entrypoint_arguments(step_name=name, snapshot_id=self._snapshot)
        self._living[name] = subprocess.Popen(
            # In place of the command's `python`, the one that runs this.
            [sys.executable, *StepProcess.get_entrypoint_command()[1:], *arguments],
            env={**os.environ, **self._environments[name], _RUN: self._id, PARENT: str(alive)},
            cwd=source_root(),
            stdin=subprocess.DEVNULL,
            pass_fds=[alive],
            # Ctrl-C reaches the launcher alone, which tells its steps.
            start_new_session=True,
        )
        return self._living[name]

    def _ended(self, name: str, status: int, done: set[str], failed: set[str]) -> None:
        del self._living[name]
        if status == 0:
            done.add(name)
            return
        told = bool(failed) and self._mode == ExecutionMode.FAIL_FAST
        failed.add(name)
        # Before others are told to end: what they say then isn't what ended the run.
        self._explain(name, status, told)
        if self._mode == ExecutionMode.FAIL_FAST:
            self._end_all()

    def _explain(self, name: str, status: int, told: bool) -> None:
        """Say of a step whose process ended without a word what became of it. `told`: it was told to end.

        Raises:
            WorkerDiedError: ZenML knows no such step yet.
        """
        step = Client().get_pipeline_run(self._run).steps.get(name)
        why = ended_by(status)
        if step is None and not told:
            raise WorkerDiedError(
                f"the process of {name} {why} before its step began", where="this machine", hint=_HINT
            )
        if step is None or step.status.is_finished:
            return
        if told:
            publish_step_run_status_update(step.id, ExecutionStatus.STOPPED)
            return
        kind = f"{WorkerDiedError.__module__}.{WorkerDiedError.__qualname__}"
        said = f"its process {why}"
        info = ExceptionInfo(traceback=said, source=kind, message=f"{said}; {_HINT}")
        publish_step_run_status_update(step.id, ExecutionStatus.FAILED, exception_info=info)

    def _end_all(self) -> None:
        """Ask processes that live to end, then kill what is left of them, their children included."""
        for process in self._living.values():
            _signal(process, signal.SIGTERM)
        for process in self._living.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_SECONDS)
            _signal(process, signal.SIGKILL)
            process.wait()


_HINT = "the system kills what takes too much memory (dmesg says so): fewer parallel_steps, smaller batches"


def ended_by(status: int) -> str:
    """How a process ended. `status`: as Python has it, negative for a signal."""
    if status >= 0:
        return f"ended with status {status}"
    return f"was killed by signal {-status} ({signal.Signals(-status).name})"


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # The group, which its session leader's children are in.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
