"""A ZenML orchestrator that takes a run and returns: jobs of its own go on whatever becomes of who asked.

What it says of a run is what became of its jobs. `python -m support.jobs` is the service that starts them.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from zenml.config.base_settings import BaseSettings
from zenml.entrypoints.step_entrypoint_configuration import StepEntrypointConfiguration
from zenml.enums import ExecutionMode, ExecutionStatus
from zenml.orchestrators import BaseOrchestrator, BaseOrchestratorConfig, BaseOrchestratorFlavor

# The folder with one folder per run, in which a file per job says what became of it; without one nothing is told.
FOLDER = "JOBS_FOLDER"
_RUN = "JOB_RUN_ID"


class JobsSettings(BaseSettings):
    synchronous: bool = True


class JobsConfig(BaseOrchestratorConfig, JobsSettings):
    pass


class JobsOrchestrator(BaseOrchestrator):
    @property
    def settings_class(self):
        return JobsSettings

    @property
    def supported_execution_modes(self):
        return [ExecutionMode.CONTINUE_ON_FAILURE]

    def get_orchestrator_run_id(self):
        return os.environ[_RUN]

    def submit_pipeline(self, snapshot, stack, base_environment, step_environments, placeholder_run=None):
        assert not self.get_settings(snapshot).synchronous, "assay waits by itself"
        jobs = {name: sorted(step.spec.upstream_steps) for name, step in snapshot.step_configurations.items()}
        task = {"run": str(placeholder_run.id), "snapshot": str(snapshot.id), "jobs": jobs, "of": step_environments}
        with tempfile.NamedTemporaryFile("w", delete=False, suffix=".json") as file:
            json.dump(task, file)
        subprocess.Popen(
            [sys.executable, "-m", "support.jobs", file.name], start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def fetch_status(self, run, include_steps=False):
        folder = Path(os.environ.get(FOLDER, "")) / str(run.id)
        if FOLDER not in os.environ or not folder.is_dir():
            raise NotImplementedError
        said = {file.name: ExecutionStatus(file.read_text()) for file in folder.iterdir()}
        whole = said.pop("run", ExecutionStatus.RUNNING)
        return whole, said if include_steps else None


class JobsFlavor(BaseOrchestratorFlavor):
    @property
    def name(self):
        return "jobs"

    @property
    def config_class(self):
        return JobsConfig

    @property
    def implementation_class(self):
        return JobsOrchestrator


class Job(StepEntrypointConfiguration):
    """A step, in the checkout."""

    def prepare_code_environment(self) -> None:
        pass


def register() -> None:
    """Make the flavour known to ZenML's store."""
    from zenml.client import Client
    from zenml.enums import StackComponentType

    Client().create_flavor("support.jobs.JobsFlavor", StackComponentType.ORCHESTRATOR)


def serve(task: dict) -> None:
    """Run the jobs one after another; what waits for one that failed is left out."""
    # Kept where the test's process ends, too: a service has a memory of its own.
    folder = Path(os.environ["JOBS_KEPT"]) / task["run"]
    folder.mkdir(parents=True)
    failed: set[str] = set()
    for name, first in task["jobs"].items():
        if failed & set(first):
            failed.add(name)
            continue
        (folder / name).write_text("running")
        command = [
            *Job.get_entrypoint_command(), *Job.get_entrypoint_arguments(step_name=name, snapshot_id=task["snapshot"])
        ]  # fmt: skip
        done = subprocess.run(
            [sys.executable, *command[1:]], env={**os.environ, **task["of"][name], _RUN: task["run"]},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        (folder / name).write_text("failed" if done.returncode else "completed")
        if done.returncode:
            failed.add(name)
            (folder.parent / f"{name}.log").write_text(done.stdout + done.stderr)
    (folder / "run").write_text("failed" if failed else "completed")


if __name__ == "__main__":
    from support import jobs

    # By its own name: ZenML's commands name the module that a class is of.
    jobs.serve(json.loads(Path(sys.argv[1]).read_text()))
