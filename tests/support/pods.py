"""A ZenML orchestrator that runs each step as a pod would: by ZenML's own step entrypoint, in a process of its own.

Its home is empty, its folder another, its environment bare; there is no checkout: code comes from the code archive.
"""

import fcntl
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zenml.entrypoints.step_entrypoint_configuration import StepEntrypointConfiguration
from zenml.enums import ExecutionMode
from zenml.orchestrators import BaseOrchestratorConfig, BaseOrchestratorFlavor, ContainerizedOrchestrator

# Where ZenML's entrypoint unpacks the code.
APP = Path("/app")
_RUN_ID = "POD_RUN_ID"
# Of the launcher: a script with arguments that a benchmark has in front of the entrypoint's.
_PROBE = "POD_PROBE"
# `python` of a container.
CONTAINER = str(Path(__file__).with_name("container_python.py"))


class PodConfig(BaseOrchestratorConfig):
    @property
    def is_schedulable(self):
        return True


class PodOrchestrator(ContainerizedOrchestrator):
    @property
    def supported_execution_modes(self):
        # As SageMaker, Vertex AI, Airflow ...: they can't stop at the first failure.
        return [ExecutionMode.CONTINUE_ON_FAILURE]

    def get_orchestrator_run_id(self):
        return os.environ[_RUN_ID]

    def submit_pipeline(self, snapshot, stack, base_environment, step_environments, placeholder_run=None):
        if snapshot.schedule is not None:
            return  # a clock starts it, as tests do
        for step, output in start(snapshot, base_environment, step_environments).items():
            print(f"pod of {step} failed:\n{output}")


class PodFlavor(BaseOrchestratorFlavor):
    @property
    def name(self):
        return "pods"

    @property
    def config_class(self):
        return PodConfig

    @property
    def implementation_class(self):
        return PodOrchestrator


def register() -> None:
    """Make the flavour known to ZenML's store."""
    from zenml.client import Client
    from zenml.enums import StackComponentType

    known = Client().list_flavors(name="equals:pods").items
    if not known:
        Client().create_flavor("support.pods.PodFlavor", StackComponentType.ORCHESTRATOR)


def start(snapshot, environment, of_steps=None) -> dict[str, str]:
    """Start a snapshot: step after step; what depends on a failed one is left out. Returns output of failed steps.

    `of_steps`: what ZenML has each step's process get besides, by step.
    """
    run_id = str(uuid.uuid4())
    failed: dict[str, str] = {}
    for name, step in snapshot.step_configurations.items():
        if failed.keys() & set(step.spec.upstream_steps):
            failed[name] = "left out"
            continue
        done = _pod(name, snapshot.id, {**environment, **(of_steps or {}).get(name, {}), _RUN_ID: run_id})
        if done.returncode:
            failed[name] = done.stdout + done.stderr
    return failed


@contextmanager
def _alone() -> Iterator[None]:
    """One pod at a time on this machine: ZenML's entrypoint always unpacks the code into the same folder."""
    APP.mkdir(exist_ok=True)
    with (APP / ".lock").open("w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


def _pod(name, snapshot_id, environment) -> subprocess.CompletedProcess[str]:
    command = [
        *StepEntrypointConfiguration.get_entrypoint_command(),
        *StepEntrypointConfiguration.get_entrypoint_arguments(step_name=name, snapshot_id=snapshot_id),
    ]
    return bare(command[1:], environment)


@functools.cache
def libraries(python: str) -> list[str]:
    said = [python, "-c", "import sys; print(*(p for p in sys.path if p.endswith('site-packages')), sep='\\n')"]
    return subprocess.run(said, capture_output=True, text=True, check=True).stdout.split()


def bare(arguments, environment, python=sys.executable) -> subprocess.CompletedProcess[str]:
    """A container's `python ARGUMENTS`: packages of `python`, nothing else of this machine."""
    from steps.zenml_runtime import light_start

    # What an image or a secret says.
    passed = {k: v for k, v in os.environ.items() if k.startswith(("AWS_", "NUMBA_CACHE_DIR"))}
    with _alone(), tempfile.TemporaryDirectory() as home:
        shutil.rmtree(APP / "code", ignore_errors=True)
        # The flavour alone, as a package that an image has installed; ZenML's store names it from the checkout's top.
        installed = Path(home) / "installed"
        flavour = installed / "tests" / "support" / "pods.py"
        flavour.parent.mkdir(parents=True)
        shutil.copy(__file__, flavour)
        light_start.install(installed)
        return subprocess.run(
            # -S: no .pth file leads to the checkout.
            [python, "-S", *os.environ.get(_PROBE, "").split(), CONTAINER, *arguments],
            env={
                "PATH": "/usr/bin:/bin", "HOME": home, "OMP_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join([str(installed), *libraries(python)]),
                "ZENML_CONFIG_PATH": f"{home}/zenml", **environment, **passed,
            },
            cwd=home, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
