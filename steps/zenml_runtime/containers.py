"""What became of a step's container on this machine (orchestrator `local_docker`)."""

from typing import Any

from zenml.enums import ExecutionStatus
from zenml.models import ExceptionInfo
from zenml.orchestrators.publish_utils import publish_step_run_status_update

from steps.contracts.errors import ServiceError, WorkerDiedError
from steps.contracts.humanize import size
from steps.zenml_runtime.step_processes import ended_by

# A container that a signal ended has this and the signal's number for its exit status.
_SIGNALS = 128
# Chosen, in seconds; a daemon that is down refuses at once.
_PATIENCE = 3_600


def be_patient() -> None:
    """Wait longer for Docker's socket: podman answers a request for a log with its first line, and a step on a busy
    machine imports for more than the minute that Docker's library waits.
    """
    try:
        import docker.client
    except ImportError:
        return
    docker.client.DEFAULT_TIMEOUT_SECONDS = _PATIENCE


def killed(error: BaseException, run: str = "") -> WorkerDiedError | None:
    """What is to be said of a container that a signal ended; None where none did, or it ended by itself. `error`: what
    came of waiting for it; `run`: name of the run.
    """
    container = _container(error)
    status = getattr(error, "exit_status", 0)
    if container is None or status <= _SIGNALS:
        return None
    limit = container.attrs.get("HostConfig", {}).get("Memory") or 0
    bounded = f"its memory was limited to {size(limit)} (`resources` of the infra file): allow it more, or less work"
    free = "the system kills what takes too much memory (dmesg says so)"
    hint = f"{bounded if limit else free}; its log: {log_command(error)}"
    return WorkerDiedError(
        f"its container {ended_by(_SIGNALS - status)}", where=f"run {run}, {_step(error)}" if run else None, hint=hint
    )


def daemon_error(error: BaseException) -> ServiceError | None:
    """What is to be said where Docker itself didn't answer; None where it isn't Docker that was asked."""
    asked = str(getattr(getattr(error, "request", None), "url", None) or "")
    if not asked.startswith("http+docker://"):
        return None
    hint = "look at it (`docker ps`), or name it by DOCKER_HOST; finished steps are reused"
    return ServiceError(f"Docker doesn't answer: {str(error).splitlines()[0][:300]}", where="this machine", hint=hint)


def explain(error: BaseException, run: Any) -> None:
    """Say in ZenML's store of a step whose container was killed what became of it. `run`: ZenML's, whose step it is."""
    why = killed(error)
    step = run.steps.get(_step(error)) if why is not None else None
    if why is None or step is None or step.status.is_finished:
        return
    kind = f"{WorkerDiedError.__module__}.{WorkerDiedError.__qualname__}"
    info = ExceptionInfo(traceback=why.what, source=kind, message=f"{why.what}; {why.hint}")
    publish_step_run_status_update(step.id, ExecutionStatus.FAILED, exception_info=info)


def log_command(error: BaseException | None) -> str:
    """What shows the log of the container that failed; "" where none did."""
    container = _container(error)
    return f"docker logs {container.short_id}" if container is not None else ""


def _container(error: BaseException | None) -> Any:
    """Docker's object; its error has it, and can be told without importing Docker's library."""
    kind = type(error)
    is_it = kind.__name__ == "ContainerError" and kind.__module__.startswith("docker.")
    return getattr(error, "container", None) if is_it else None


def _step(error: Any) -> str:
    words = list(error.command or ())
    return str(words[words.index("--step_name") + 1]) if "--step_name" in words else ""
